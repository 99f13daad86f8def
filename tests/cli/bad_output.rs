//! Output that cannot be written, and trainings that cannot go on.

use crate::Place;

#[test]
fn an_out_that_cannot_be_a_folder_is_refused() {
    let place = Place::new();
    place.write("file", "precious");
    place
        .run("train --data sample --out file")
        .failed_saying(&["file", "cannot create the folder"]);
    place.run("train --data sample --out file/run").failed_saying(&["file/run", "cannot create"]);
    place.run("train --data sample --out file/run --resume").failed_saying(&["file/run"]);
    assert_eq!(place.text("file"), "precious");
    // `runs` is where a run goes that has no --out.
    place.write("runs", "precious");
    place.run("train --data sample").failed_saying(&["runs", "cannot create the folder"]);
    assert_eq!(place.text("runs"), "precious");
}

#[cfg(target_os = "linux")]
#[test]
fn an_out_where_nobody_may_write_is_refused() {
    // Not even root writes here.
    Place::new().run("train --data sample --out /proc/run").failed_saying(&["/proc/run", "cannot"]);
}

#[test]
fn a_file_that_cannot_be_replaced_ends_the_run_with_one_line() {
    let place = Place::new();
    // A folder with something in it, where the run wants its weights.
    std::fs::create_dir_all(place.path("run/model.safetensors")).unwrap();
    place.write("run/model.safetensors/inside", "precious");
    let args = format!("train {} --quiet --out run", crate::small(""));
    place.run(&args).failed_saying(&["run: the folder is not a run and holds model.safetensors"]);
    place.train("whole", "");
    place.write("run/config.json", place.text("whole/config.json"));
    place.run(&format!("{args} --overwrite")).failed_saying(&["run/model.safetensors", "cannot"]);
    assert_eq!(place.text("run/model.safetensors/inside"), "precious");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_is_an_error_and_the_run_is_saved() {
    let place = Place::new();
    place.train("run", "");
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    for args in ["eval run", "info run --json", "data --data sample", "predict run test:0"] {
        let mut command = place.command();
        let output = command.args(args.split(' ')).stdout(full()).output().unwrap();
        crate::Outcome::from(output).failed_saying(&["No space left on device"]);
    }
    let mut command = place.command();
    command.args(format!("train {} --json --out full", crate::small("")).split_whitespace());
    let outcome = crate::Outcome::from(command.stdout(full()).output().unwrap());
    assert_eq!(outcome.code, Some(1));
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert!(lines[lines.len() - 2].starts_with("stopped and saved"), "{lines:?}");
    assert!(lines[lines.len() - 1].starts_with("error: cannot write to stdout"), "{lines:?}");
    place.run(&format!("train {} --resume --out full", crate::small(""))).succeeded();
    assert_eq!(place.read("full/model.safetensors"), place.read("run/model.safetensors"));
}

#[test]
fn a_training_that_diverges_stops_and_says_what_to_do() {
    let place = Place::new();
    let args = "train --data sample --hidden 12 --cell relu --lr 1e30 --quiet --out run";
    place.run(args).failed_saying(&["is not finite at step", "lower the learning rate"]);
    assert!(!place.exists("run/model.safetensors"));
}

#[test]
fn learning_rates_beyond_f32_end_before_weights_are_saved() {
    let place = Place::new();
    // The first step would make the weights larger than an f32.
    let args = "train --data sample --hidden 12 --lr 1e39 --save-every 1 --quiet --out run";
    place.run(args).failed_saying(&["learning_rate must be at least 0 and finite in f32"]);
    assert!(!place.exists("run"));
    // The second one, of weights that are as large as any.
    let args = "train --data sample --hidden 12 --lr 3e37 --quiet --out later";
    place.run(args).failed_saying(&["is not finite at step", "lower the learning rate"]);
    assert!(!place.exists("later/model.safetensors"));
}

#[test]
fn a_device_that_this_build_lacks_is_refused_with_a_remedy() {
    let place = Place::new();
    for (device, feature) in [("cuda", cfg!(feature = "cuda")), ("metal", cfg!(feature = "metal"))]
    {
        if !feature {
            let outcome = place.run(&format!("train --data sample --device {device} --out run"));
            outcome
                .failed_saying(&[&format!("just train-{device}"), &format!("--features {device}")]);
        }
    }
    assert!(!place.exists("run"));
}

#[test]
fn numbers_of_runs_come_to_an_end() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("runs/4294967295")).unwrap();
    let args = format!("train {}", crate::small(""));
    place.run(&args).failed_saying(&["runs: no number is free", "--out"]);
}
