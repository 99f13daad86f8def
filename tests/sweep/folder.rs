//! Folders of sweeps: which files they take, and who has a trial.

use candle_rnn::sweep::{SweepFolder, TrialRecord};

use crate::plan;

/// A folder of a sweep, with runs that were trained or have begun.
struct Folder(tempfile::TempDir);

impl Folder {
    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("sweep")
    }

    /// Opens it with a file; the numbers of its trials.
    fn open(&self, text: &str) -> Result<Vec<usize>, String> {
        let folder = SweepFolder::open(&self.path(), &plan(text), text);
        let plan = folder.map_err(|error| error.to_string())?.plan().unwrap();
        Ok(plan.trials().iter().map(|trial| trial.number).collect())
    }

    /// A run that was trained to its end.
    fn finish(&self, number: usize) {
        let run = SweepFolder::read(&self.path()).unwrap().run(number);
        std::fs::create_dir_all(&run).unwrap();
        for name in ["config.json", "README.md"] {
            std::fs::write(run.join(name), "{}").unwrap();
        }
    }

    fn begin(&self, number: usize) {
        let folder = SweepFolder::read(&self.path()).unwrap();
        let plan = folder.plan().unwrap();
        let trial = plan.trials().iter().find(|trial| trial.number == number).unwrap();
        drop(folder.claim(trial).unwrap().unwrap());
    }

    /// The file is refused, and the folder stays as it was.
    #[track_caller]
    fn refuses(&self, text: &str, said: &str) {
        let before = std::fs::read(self.path().join("sweep.toml")).unwrap();
        let error = self.open(text).unwrap_err();
        assert!(
            error.contains(said) && error.starts_with(self.path().to_str().unwrap()),
            "{error}"
        );
        assert_eq!(std::fs::read(self.path().join("sweep.toml")).unwrap(), before);
    }
}

#[test]
fn trials_keep_their_numbers_where_a_file_changes() {
    let folder = Folder(tempfile::tempdir().unwrap());
    assert_eq!(folder.open("seeds = [1, 2]").unwrap(), [1, 2]);
    // Another text of the same plan.
    assert_eq!(folder.open("seeds = [1,2] # the same").unwrap(), [1, 2]);
    // Nothing has begun: any other sweep is as good.
    assert_eq!(folder.open("seeds = [7]").unwrap(), [1]);
    let two = "seeds = [1, 2]\n[grid]\nlr = [0.1, 0.2]\n";
    assert_eq!(folder.open(two).unwrap(), [1, 2, 3, 4]);
    folder.finish(1);
    folder.begin(3);
    folder.finish(4);
    let three = two.replace("2]\n[", "2, 3]\n[");
    assert_eq!(folder.open(&three).unwrap(), [1, 2, 5, 3, 4, 6]);
    // How often a run is saved makes no other, and neither does the order of the values.
    let turned = three.replace("0.1, 0.2", "0.2, 0.1") + "[settings]\nsave_every = 7\n";
    assert_eq!(folder.open(&turned).unwrap(), [3, 4, 6, 1, 2, 5]);
    // The folder's own file may be taken along.
    let copy = std::fs::read_to_string(folder.path().join("sweep.toml")).unwrap();
    assert!(copy.starts_with("numbers = [3, 4, 6, 1, 2, 5]\n"), "{copy}");
    assert_eq!(folder.open(&copy).unwrap(), [3, 4, 6, 1, 2, 5]);
    // Another third seed: it takes the numbers of that which nobody has trained.
    let corrected = three.replace("2, 3]", "2, 9]");
    assert_eq!(folder.open(&corrected).unwrap(), [1, 2, 5, 3, 4, 6]);
    folder.refuses(
        &two.replace("0.2", "0.3"),
        "trial 0004 (lr 0.2, seed 2) is finished, and no trial has its settings",
    );
    folder.refuses(
        &format!("{two}[settings]\nepochs = 3\n"),
        "trial 0001 (lr 0.1, seed 1) is finished",
    );
    folder.refuses(&format!("{two}[data]\nfile = \"a\""), "the data are others");
    let halving = "[settings]\nepochs = 8\n[halving]\nrounds = 2";
    folder
        .refuses(&format!("{two}{halving}"), "has begun, and with halving every trial is compared");
}

#[test]
fn corrections_of_what_has_not_ended_get_numbers_of_their_own() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let text = |rates: &str, data: &str| {
        format!("[grid]\nlr = {rates}\n[data]\nfile = \"{data}\"\ntest = \"t\"\n")
    };
    folder.open(&text("[0.1, 0.2, 0.3]", "a")).unwrap();
    folder.finish(1);
    folder.begin(2);
    // The second one has begun, with a wrong value: its number is not given again.
    assert_eq!(folder.open(&text("[0.1, 0.02, 0.3]", "a")).unwrap(), [1, 4, 3]);
    folder.refuses(
        &text("[0.1, 0.02, 0.3]", "b"),
        "trial 0001 (lr 0.1) is finished, and the data are others",
    );
    // No trial sees the test data.
    let tested = text("[0.1, 0.02, 0.3]", "a").replace("\"t\"", "\"u\"");
    assert_eq!(folder.open(&tested).unwrap(), [1, 4, 3]);
    // Data that were wrong for all.
    let folder = Folder(tempfile::tempdir().unwrap());
    folder.open(&text("[0.1, 0.2]", "a")).unwrap();
    folder.begin(1);
    assert_eq!(folder.open(&text("[0.1, 0.2]", "b")).unwrap(), [2, 3]);
    // With halving all stay as they are once one has begun.
    let folder = Folder(tempfile::tempdir().unwrap());
    let halved = "seeds = [1, 2, 3]\n[settings]\nepochs = 8\n[halving]\nrounds = 2";
    folder.open("seeds = [1, 2]").unwrap();
    assert_eq!(folder.open(halved).unwrap(), [1, 2, 3]);
    folder.begin(2);
    assert_eq!(folder.open(&format!("# as it was\n{halved}")).unwrap(), [1, 2, 3]);
    folder
        .refuses(&halved.replace("3]", "3, 4]"), "trial 0002 (seed 2) has begun, and with halving");
    folder.refuses(&halved.replace("rounds = 2", "rounds = 3"), "with halving");
}

#[test]
fn a_folder_that_is_no_sweeps_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("run");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("config.json"), "{}").unwrap();
    let text = "seeds = [1]";
    let error = SweepFolder::open(&other, &plan(text), text).unwrap_err().to_string();
    assert!(error.contains("no sweep and holds config.json"), "{error}");
    assert!(SweepFolder::read(&other).is_err());
}

#[test]
fn a_claim_keeps_others_out_until_all_copies_are_closed() {
    let folder = tempfile::tempdir().unwrap();
    let text = "seeds = [1, 2]";
    let plan = plan(text);
    let [first, second] = plan.trials() else { panic!() };
    let sweep = SweepFolder::open(folder.path(), &plan, text).unwrap();
    let mut claim = sweep.claim(first).unwrap().unwrap();
    assert!(sweep.claim(first).unwrap().is_none());
    assert!(sweep.claim(second).unwrap().is_some());
    assert_eq!(std::fs::read_to_string(sweep.settings(1)).unwrap(), "seed = 1\n");
    let copy = claim.log().unwrap();
    std::io::Write::write_all(&mut &copy, b"epoch 1\nerror: too wide\n\nUsage: train\n").unwrap();
    assert_eq!(claim.error().unwrap().as_deref(), Some("too wide"));
    assert_eq!(sweep.record(1).unwrap().error, None);
    claim.fail("too wide\nby far").unwrap();
    assert_eq!(sweep.record(1).unwrap().error.as_deref(), Some("too wide by far"));
    drop(claim);
    assert!(sweep.claim(first).unwrap().is_none());
    drop(copy);
    let mut claim = sweep.claim(first).unwrap().unwrap();
    // What was said before is not this claim's.
    assert_eq!(claim.error().unwrap(), None);
    claim.retry().unwrap();
    assert_eq!(sweep.record(1).unwrap(), TrialRecord::default());
}

#[test]
fn a_data_file_with_another_content_is_other_data() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let [file, valid] = ["a.csv", "b.csv"].map(|name| folder.0.path().join(name));
    let text =
        format!("seeds = [1, 2]\n[data]\nfile = {file:?}\nvalid = {valid:?}\ntest = \"t.csv\"\n");
    std::fs::write(&file, "before").unwrap();
    std::fs::write(&valid, "valid").unwrap();
    folder.open(&text).unwrap();
    folder.begin(2);
    std::fs::write(&file, "after").unwrap();
    // Nothing is finished: as with another file, trials that have begun get other numbers.
    assert_eq!(folder.open(&text).unwrap(), [1, 3]);
    assert_eq!(folder.open(&text).unwrap(), [1, 3]);
    folder.finish(1);
    std::fs::write(&file, "before").unwrap();
    folder.refuses(&text, "trial 0001 (seed 1) is finished, and the data are others, and ");
    folder.refuses(&text, "a.csv has another content than when the sweep began");
    let numbered = SweepFolder::numbered(&folder.path(), &plan(&text));
    assert!(numbered.unwrap_err().to_string().contains("a.csv has another content"));
    std::fs::write(&file, "after").unwrap();
    std::fs::write(&valid, "other").unwrap();
    folder.refuses(&text, "b.csv has another content");
    std::fs::write(&valid, "valid").unwrap();
    assert_eq!(folder.open(&text).unwrap(), [1, 3]);
    // What is finished can be looked at without its data.
    std::fs::remove_file(&file).unwrap();
    assert_eq!(folder.open(&text).unwrap(), [1, 3]);
    std::fs::write(&file, "before").unwrap();
    folder.refuses(&text, "a.csv has another content");
}

#[test]
fn images_with_another_content_are_other_data() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let names = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"];
    let write = |name: &str, content: &str| {
        std::fs::write(folder.0.path().join(format!("{name}-ubyte")), content).unwrap();
    };
    names.iter().for_each(|name| write(name, "before"));
    let source = folder.0.path();
    let text = format!(
        "seeds = [1, 2, 3]\n[settings]\nsource = {source:?}\nepochs = 8\n[halving]\nrounds = 2\n"
    );
    folder.open(&text).unwrap();
    folder.begin(2);
    // No trial sees the test images.
    write(names[2], "after");
    folder.open(&text).unwrap();
    write(names[1], "after");
    folder.refuses(&text, "trial 0002 (seed 2) has begun, and ");
    folder.refuses(&text, "train-labels-idx1-ubyte has another content");
}
