//! Links to checkpoints.

use std::os::unix::fs::symlink;

use crate::Place;

#[test]
fn a_link_to_a_checkpoint_is_measured_as_the_checkpoint() {
    let place = Place::new();
    place.train("run", "");
    let expected = place.run("eval run/checkpoints/step-00000020 --json").succeeded().stdout;
    symlink("step-00000020", place.path("run/checkpoints/latest")).unwrap();
    symlink("run/checkpoints/step-00000020", place.path("latest")).unwrap();
    for link in ["run/checkpoints/latest", "latest", "latest/", "latest/."] {
        assert_eq!(
            place.run(&format!("eval {link} --json")).succeeded().stdout,
            expected,
            "{link}"
        );
        place.run(&format!("info {link}")).succeeded();
        place.run(&format!("predict {link} test:0")).succeeded();
    }
}

#[test]
fn a_run_goes_on_from_links_and_removes_nothing_behind_them() {
    let place = Place::new();
    let args = "--epochs 4 --save-every 10";
    place.train("whole", args);
    // All checkpoints moved to another disk, with links in their places.
    let moved = |run: &str| {
        place.copy("whole", run);
        place.forget_after(run, 30);
        let _ = std::fs::remove_dir_all(place.path(&format!("{run}/checkpoints/best")));
        std::fs::create_dir_all(place.path(&format!("disk/{run}"))).unwrap();
        let (from, to) = (format!("{run}/checkpoints/step-00000030"), format!("disk/{run}/step"));
        std::fs::rename(place.path(&from), place.path(&to)).unwrap();
        (from, to)
    };
    let (from, to) = moved("step");
    symlink(place.path(&to), place.path(&from)).unwrap();
    // The best epoch is to be saved over a link that leads nowhere.
    symlink("nowhere", place.path("step/checkpoints/best")).unwrap();
    let (_, named) = moved("named");
    symlink(place.path(&named), place.path("named/checkpoints/latest")).unwrap();
    for (run, target) in [("step", to), ("named", named)] {
        let before = place.files(&target);
        let outcome = place.train(run, &format!("{args} --keep 1 --resume"));
        assert!(outcome.stdout.contains("resuming after step 30"), "{run}: {}", outcome.stdout);
        assert_eq!(
            place.read(&format!("{run}/model.safetensors")),
            place.read("whole/model.safetensors")
        );
        assert!(!place.exists("step/checkpoints/step-00000030"), "one is kept");
        assert_eq!(place.files(&target), before, "{run}");
    }
    assert!(place.exists("named/checkpoints/latest/model.safetensors"));
}
