"""DeepV2D (Teed & Deng, ICLR 2020): camera motion and depth in alternation, by networks with geometry inside."""
