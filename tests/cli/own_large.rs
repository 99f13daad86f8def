//! Files that are read in blocks, since they are too large to be held.

use crate::Place;

const ROWS: usize = 70_000;

/// A row an example: the first of three numbers tells two kinds of flowers apart.
fn flowers(count: usize) -> String {
    let row = |n: usize| {
        let (name, length) = if n.is_multiple_of(2) { ("setosa", 1.4) } else { ("virginica", 5.5) };
        format!("{:.2},{},{},{name}\n", length + (n % 10) as f64 * 0.01, n % 3, n % 5)
    };
    format!("length,width,a,species\n{}", (0..count).map(row).collect::<String>())
}

#[test]
fn a_large_file_is_predicted_and_measured_in_blocks() {
    let place = Place::new();
    place.write("few.csv", flowers(60));
    place.train_on("few.csv", "run", "--epochs 30 --hidden 8 --lr 0.01");
    place.write("many.csv", flowers(ROWS));
    let json = place.run("eval run many.csv --json").succeeded().json();
    assert_eq!((&json["accuracy"], &json["examples"]), (&1.0.into(), &ROWS.into()), "{json}");
    place.write("p.csv", "precious");
    place.run("predict run many.csv --output p.csv").succeeded();
    let found = place.text("p.csv");
    let mut lines = found.lines();
    assert_eq!(lines.next(), Some("id,label,p(setosa),p(virginica)"));
    let mut count = 0;
    for (n, line) in lines.enumerate() {
        let name = ["setosa", "virginica"][n % 2];
        assert!(line.starts_with(&format!("{n},{name},")), "{line}");
        count += 1;
    }
    assert_eq!(count, ROWS);
    // What is wrong at the end of the file is found before the first prediction.
    let wrong = format!("{}1.4,oh,1,setosa\n", flowers(ROWS));
    place.write("wrong.csv", wrong);
    let line = format!("wrong.csv: line {}, column width: expected a number, got", ROWS + 2);
    let before = place.files("");
    for command in
        ["predict run wrong.csv --output p.csv", "predict run wrong.csv", "eval run wrong.csv"]
    {
        let outcome = place.run(command).failed_saying(&[&line]);
        assert_eq!(outcome.stdout, "", "{command}");
    }
    let other = flowers(ROWS) + "1.4,1,1,rose\n";
    place.write("other.csv", &other);
    place.run("eval run other.csv").failed_saying(&[
        "other.csv: the class rose is not among those of the training data: setosa, virginica",
    ]);
    std::fs::remove_file(place.path("other.csv")).unwrap();
    assert!(place.files("") == before, "{:?}", place.files("").keys());
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_leaves_nothing() {
    let place = Place::with_files();
    place.train_on("wide.csv", "run", "");
    std::fs::create_dir(place.path("folder")).unwrap();
    let before = place.files("");
    place.run("predict run wide.csv --output folder").failed_saying(&["folder: cannot create"]);
    place.run("predict run wide.csv --output no/p.csv").failed_saying(&["no/p.csv: cannot create"]);
    place.run("predict run wide.csv --output /dev/full").failed_saying(&["/dev/full"]);
    assert!(place.files("") == before, "{:?}", place.files("").keys());
    let piped = place.run("predict run wide.csv --output /dev/stdout").succeeded().stdout;
    assert_eq!(piped.lines().count(), 41, "{piped}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_limit_of_the_address_space_is_heeded() {
    let place = Place::new();
    // 2.4 GB of zeros, of which the disk holds only the header.
    let header =
        format!("{:117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 600)}");
    place.write("large.npy", [b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes()].concat());
    let file = std::fs::File::options().append(true).open(place.path("large.npy")).unwrap();
    file.set_len(128 + 2_400_000_000).unwrap();
    let mut command = place.wrapped(&["sh", "-c", "ulimit -v 2000000; exec \"$0\" \"$@\""]);
    let outcome = crate::Outcome::from(command.args(["data", "large.npy"]).output().unwrap());
    outcome
        .failed_saying(&["large.npy: its data need about 2.4 GB of memory, and ", "are available"]);
}
