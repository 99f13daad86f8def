//! Texts of one's own: language models of characters, and what they write.

use crate::own_files::tiny;
use crate::Place;

const ARGS: &str = "--hidden 32 --epochs 8 --batch-size 4 --seq-len 16 --lr 0.02";

#[test]
fn a_text_is_learnt_and_measured() {
    let place = Place::with_files();
    let shown = place.train_on("book.txt", "run", ARGS).stdout;
    let found = "book.txt: text, 2,700 characters, 13 different ones; the last 5 % validate\n";
    assert!(shown.starts_with(found), "{shown}");
    assert!(shown.contains("saved; next: candle-rnn generate run --prompt TEXT\n"), "{shown}");
    let json = place.run("eval run book.txt --json").succeeded().json();
    let (bits, loss) =
        (json["bits_per_character"].as_f64().unwrap(), json["loss"].as_f64().unwrap());
    assert!((bits * std::f64::consts::LN_2 - loss).abs() < 1e-9, "{json}");
    assert!(bits < 1.5, "{json}");
    let text = place.run("eval run book.txt").succeeded().stdout;
    assert_eq!(
        text,
        format!("book.txt  {bits:.4} bits per character  loss {loss:.4}  2,700 characters\n")
    );
    let info = place.run("info run").succeeded().stdout;
    assert!(info.contains("task                       text\n"), "{info}");
    place.run("eval run").failed_saying(&["name a file with a text", "--split valid"]);
    let valid = place.run("eval run --split valid --json").succeeded().json();
    let best =
        place.metrics("run").iter().map(|m| m["valid_loss"].as_f64().unwrap()).fold(9., f64::min);
    assert_eq!((&valid["split"], &valid["examples"]), (&"valid".into(), &135.into()));
    assert!((valid["loss"].as_f64().unwrap() - best).abs() < 1e-6, "{valid} {best}");
}

#[test]
fn one_seed_writes_one_text() {
    let place = Place::with_files();
    place.train_on("book.txt", "run", ARGS);
    let write = |more: &str| {
        let mut args = vec!["generate", "run", "--prompt", "the ", "--length", "60"];
        args.extend(more.split_whitespace());
        place.run_args(args).succeeded().stdout
    };
    let text = write("--seed 1");
    assert!(text.starts_with("the ") && text.ends_with('\n'), "{text}");
    assert_eq!(text.chars().count(), 4 + 60 + 1);
    assert_eq!(write("--seed 1"), text);
    assert_ne!(write("--seed 2 --temperature 1.5"), write("--seed 1 --temperature 1.5"));
    // Nothing is drawn by chance of what is most likely alone.
    let most_likely = write("--temperature 0 --seed 1");
    assert_eq!(write("--temperature 0 --seed 2"), most_likely);
    assert_eq!(write("--top-k 1 --seed 3"), most_likely);
    let json = place.run_args([
        "generate", "run", "--prompt", "the ", "--length", "60", "--json", "--seed", "1",
    ]);
    let json = json.succeeded().json();
    assert_eq!(
        format!("{}{}\n", json["prompt"].as_str().unwrap(), json["text"].as_str().unwrap()),
        text
    );
    let none = place.run("generate run --prompt the --length 0").succeeded().stdout;
    assert_eq!(none, "the\n");
}

#[test]
fn prompts_that_cannot_be_continued_are_refused() {
    let place = Place::with_files();
    place.train_on("book.txt", "run", "--batch-size 4 --seq-len 16");
    let error = ["error: prompt: the model does not know the character '-'"];
    place.run("generate run --prompt the-Z").failed_saying(&error);
    place
        .run("generate run --prompt the-Z --json")
        .failed_saying(&["does not know the character '-'"]);
    let empty = ["generate", "run", "--prompt", ""];
    place.run_args(empty).failed_saying(&["a prompt needs at least one character"]);
    place.run("generate run --prompt the --temperature -1").misused();
    place.run("generate run --prompt the --temperature nan").misused();
    place.run("generate run --prompt the --top-k 0").misused();
    place.run("generate run").misused();
    place.run("generate nowhere --prompt the").failed_saying(&["nowhere"]);
    place.run("predict run book.txt").failed_saying(&["candle-rnn generate"]);
    place.write("other.txt", "the cat\nsat on ZZ\n");
    let error = ["other.txt", "line 1: the model does not know the character '\\n'"];
    place.run("eval run other.txt").failed_saying(&error);
    place.write("one.txt", "t");
    place.run("eval run one.txt").failed_saying(&["one.txt", "too short"]);
    place.run("eval run wide.csv").failed_saying(&["wide.csv: not a plain text"]);
    place.run("eval run book.txt --label x").misused();
    place.run("eval run --data sample").misused();
}

#[test]
fn a_text_is_trained_by_its_settings_again() {
    let place = Place::with_files();
    place.train_on("book.txt", "run", "--batch-size 4 --seq-len 16 --embedding-size 5 --seed 3");
    place.run("train book.txt --config run/train.toml --out again").succeeded();
    assert_eq!(place.read("run/model.safetensors"), place.read("again/model.safetensors"));
    let json = place.run("info again --json").succeeded().json();
    assert_eq!(json["config"]["model"]["embedding_size"], 5);
}

#[test]
fn texts_that_cannot_be_trained_on_are_refused() {
    let place = Place::with_files();
    let refused = |name: &str, content: &str, error: &[&str]| {
        place.write(name, content);
        let args = format!("train {name} --quiet --out run {}", tiny(""));
        place.run(&args).failed_saying(&[&[name], error].concat());
        assert!(!place.exists("run"));
    };
    refused(
        "short.txt",
        "hello there",
        &[
            "the validation part of the text (its last 5 %) has 2 characters and needs 65",
            "--seq-len",
        ],
    );
    refused(
        "train.txt",
        &"hello there. ".repeat(120),
        &["32 streams of 64 characters", "--batch-size"],
    );
    refused("same.txt", "hhhhhhhh", &["from 2 to 65,536 different characters, got 1"]);
    place.write("one.txt", "aaaa");
    place.run("data one.txt").failed_saying(&["one.txt: a text must have"]);
    refused("blank.txt", " \n\n", &["holds nothing but blanks"]);
    place.write("latin.txt", b"caf\xe9 au lait, s'il vous pla\xeet\n");
    place.run("train latin.txt --out run").failed_saying(&["latin.txt", "UTF-8"]);
    for wrong in [
        "--scaling standard",
        "--horizon 3",
        "--accumulate 2",
        "--view rows",
        "--test book.txt",
        "--dataset mnist",
    ] {
        place.run(&format!("train book.txt --out run {wrong}")).misused();
    }
    place.run("train book.txt --id x --out run").failed_saying(&["book.txt", "plain text", "id"]);
    assert!(!place.exists("run") && !place.exists("runs"));
}
