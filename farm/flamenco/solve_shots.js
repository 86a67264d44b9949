// A job type for Flamenco 3 (docs/farm.md): copy this file into the folder `scripts` beside flamenco-manager.
// Groups of stages of a shot follow one another; the report waits for all shots.

const JOB_TYPE = {
    label: "Solve Shots",
    description: "Cameras and depth of a list of shots, and one report",
    settings: [
        { key: "shot_list", type: "string", subtype: "file_path", required: true,
          description: "The cvd.shots/1 file" },
        { key: "shots", type: "int32", required: true, description: "How many shots the list has" },
        { key: "report", type: "string", subtype: "dir_path", required: true, description: "Folder of the report" },
        { key: "engine_folder", type: "string", subtype: "dir_path", required: true,
          description: "The folder that holds engine/" },
        { key: "engine_python", type: "string", default: "{cvd_python}",
          description: "The Python of the engine's environment, or a variable of the Manager" },
        { key: "preset", type: "string", default: "listed",
          choices: ["listed", "preview", "standard", "best", "cvd-2020"] },
    ]
};

// `python -m engine`, wherever a worker runs it.
const START = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    + "runpy.run_module('engine', run_name='__main__', alter_sys=True)";
const GROUPS = [["cameras", "motion"], ["depth", "depth"], ["export", "export"]];

function compileJob(job) {
    const settings = job.settings;
    const where = [settings.shot_list, "--report", settings.report, "--preset", settings.preset];
    const engine = (args) => author.Command("exec", {
        exe: settings.engine_python,
        args: ["-c", START, settings.engine_folder].concat(args),
    });
    const last = [];
    for (let shot = 1; shot <= settings.shots; shot++) {
        let before = null;
        for (const [group, until] of GROUPS) {
            const task = author.Task(`${group}-${shot}`, "misc");
            task.addCommand(engine(["batch"].concat(where, "--task", "--shots", String(shot), "--until", until)));
            if (before !== null) {
                task.addDependency(before);
            }
            job.addTask(task);
            before = task;
        }
        last.push(before);
    }
    const report = author.Task("report", "misc");
    report.addCommand(engine(["batch-report"].concat(where)));
    for (const task of last) {
        report.addDependency(task);
    }
    job.addTask(report);
}
