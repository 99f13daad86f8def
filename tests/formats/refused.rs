//! Tables, lists and packed files that are wrong: one line that names the place.

use candle_rnn::data::formats::{Layout, ReadOptions};

use super::{gzip, outcome, refused, sequences};

#[test]
fn tables_that_are_wrong_are_refused_with_their_place() {
    for (content, error) in [
        ("", "is empty"),
        ("\n\n \n", "holds nothing but blanks"),
        ("id,x,label\n", "holds a header and no rows"),
        ("id,x\na,1\na,1,2\n", "line 3: has 3 cells, expected 2 as in the first line"),
        ("id,x\na,1\n\na\n", "line 4: has 1 cell, expected 2 as in the first line"),
        ("id,x\na,1\na,two\n", "line 3, column x: expected a number, got \"two\""),
        ("id,x\na,1\na,inf\n", "line 3, column x: \"inf\" is not a finite number of 32 bits"),
        ("id;x\na;1\na;1,5\n", "line 3, column x: \"1,5\" has a decimal comma: write 1.5"),
        (
            "id,time,x\na,1,1\na,1,2\n",
            "line 3, column time: the time \"1\" is there twice: times must increase within a sequence",
        ),
        (
            "id,time,x\na,2,1\na,1,2\n",
            "line 3, column time: the time \"1\" follows \"2\": times must increase within a sequence",
        ),
        (
            "id,time,x\na,28/03/2020,1\na,27/03/2020,2\n",
            "line 3, column time: the time \"27/03/2020\" follows \"28/03/2020\": times must increase within a sequence",
        ),
        (
            "id,time,x\na,2020-03-28,1\na,5,2\n",
            "line 3, column time: the time \"5\" follows \"2020-03-28\": expected either numbers or dates, not both",
        ),
        (
            "id,time,x\na,28/03/2020,1\na,03/29/2020,2\n",
            "line 3, column time: the date \"03/29/2020\" has its day and its month the other way round than the dates \
             before it: write dates as 2020-03-28",
        ),
        ("id,time,x\na,2,1\na,soon,2\n", "line 3, column time: expected a number or a date, got \"soon\""),
        (
            "id,x\na,1\nb,2\na,3\n",
            "line 4, column id: the sequence \"a\" comes back after another: the rows of a sequence must follow each \
             other",
        ),
        ("id,x\n,1\n,2\n", "line 2, column id: the id is missing"),
        ("id,x,group\na,1,p\na,2,q\n", "line 3, column group: the group changes from \"p\" to \"q\" within a sequence"),
        ("id,x,x\na,1,2\n", "line 1: two columns have the name \"x\""),
        (
            "id,x,label\na,1,u\nb,2,\n",
            "line 3, column label: the label is missing, one of 1: give all labels or none",
        ),
        (
            "id,x,state\na,1,slow\na,2,\nb,1,fast\nb,2,fast\n",
            "line 3, column state: the label of the step is missing: give all labels",
        ),
        (
            "id,x,y\na,1,0.5\na,2,0.7\n",
            "y has a number at each step, which cannot be a target: leave it among the features to forecast it",
        ),
        ("id,name\na,u\nb,v\nc,w\n", "has no column of numbers: line 2, column name: expected a number, got \"u\""),
        ("id\na\nb\n", "has no column of numbers that could be a feature"),
        ("id;x\na;1\na;1,255\n", "line 3, column x: \"1,255\" has a decimal comma: write 1.255"),
        ("id\tx\na\t1\na\t0,255\n", "line 3, column x: \"0,255\" has a decimal comma: write 0.255"),
    ] {
        refused("a.csv", content, error);
    }
    refused(
        "a.csv",
        b"id,x\na,1\nb\xe9,2\n",
        "line 3, column id: is not UTF-8 text: save the file as UTF-8",
    );
    refused("a.csv", b"\xff\xfei\0d\0", "is UTF-16 text: save it as UTF-8");
    let wide = ReadOptions { layout: Some(Layout::Wide), ..Default::default() };
    let error = outcome("a.csv", b"a,1,2\nb,,\n", &wide).unwrap_err();
    assert_eq!(error, "a.csv: line 2: the sequence has no steps: all its cells are empty");
    let options = ReadOptions { id: Some("name".into()), ..Default::default() };
    let error = outcome("a.csv", b"id,x\na,1\n", &options).unwrap_err();
    assert_eq!(error, "a.csv: has no column \"name\": there are id, x");
    let error = outcome("a.ts", b"@problemName a\n@data\n1\n", &options).unwrap_err();
    assert!(error.contains("for which the option id means nothing"), "{error}");
}

#[test]
fn a_million_columns_are_steps_or_are_refused() {
    let names: Vec<String> = (0..1_000_000).map(|column| format!("c{}", column * 2)).collect();
    let content = format!("{}\n{}\n", names.join(","), vec!["1"; 1_000_000].join(","));
    let error = outcome("a.csv", content.as_bytes(), &ReadOptions::default()).unwrap_err();
    assert!(error.contains("has 1000000 columns, more than the 65536 features"), "{error}");
    let wide = ReadOptions { layout: Some(Layout::Wide), ..Default::default() };
    let loaded = sequences(outcome("a.csv", content.as_bytes(), &wide).unwrap());
    assert_eq!(loaded.total_steps(), 1_000_000);
}

#[test]
fn lists_that_are_wrong_are_refused_with_their_place() {
    let ts = "@problemName a\n@classLabel true 1 2\n@data\n";
    for (lines, error) in [
        ("1,2:1\n1,b:2\n", "line 5: feature 1, step 2: expected a number, got \"b\""),
        ("1,2:3\n", "line 4: label: \"3\" is not among the declared classes"),
        ("1,2:3,4:1\n1,2:3:1\n", "line 5: feature 2 has 1 step, feature 1 has 2"),
        ("1,2:3,4:1\n1,2:1\n", "line 5: has 1 feature, the first sequence has 2"),
        (":1\n", "line 4: the sequence has no steps"),
        ("1,2\n", "line 4: expected a colon and a label at the end"),
        ("", "has no sequences after its line @data"),
        (
            "(0,1),(1,2):1\n",
            "line 4: values have time stamps, which are not read here: write the values alone, or a CSV file with a \
             column for the time",
        ),
    ] {
        refused("a.ts", format!("{ts}{lines}"), error);
    }
    let arff =
        "@relation a\n@attribute b numeric\n@attribute c numeric\n@attribute d {u,v}\n@data\n";
    for (lines, error) in [
        ("1,2,u\n1,x,v\n", "line 7: feature 1, step 2: expected a number, got \"x\""),
        ("1,2,w\n", "line 6: attribute \"d\": \"w\" is not among the declared classes"),
        ("1,2\n", "line 6: has 2 values, there are 3 attributes"),
        ("'1,2,u\n", "line 6: a quoted value does not end"),
        ("{3 2}\n", "line 6: attribute 3 of a sparse row: there are 0 to 2"),
        ("{0 1\n", "line 6: a sparse row ends with a closing brace"),
    ] {
        refused("a.arff", format!("{arff}{lines}"), error);
    }
    for (lines, error) in [
        ("{\"x\": [1, 2]\n", "line 1, column 12: EOF while parsing an object"),
        (
            "{\"x\": [1, [2]]}\n",
            "line 1, column 14: step 2 is a list of 1 numbers, step 1 is a number",
        ),
        ("{\"x\": []}\n", "line 1: the sequence has no steps: expected a list of them in x"),
        ("{\"x\": [1]}\n{\"x\": [[1, 2]]}\n", "line 2: has 2 features, the first sequence has 1"),
        (
            "{\"x\": [1], \"y\": 1}\n{\"x\": [1]}\n",
            "line 2: lacks the field y, which the objects before it have",
        ),
        (
            "{\"x\": [1, 2], \"y\": [\"a\", \"b\"]}\n{\"x\": [1], \"y\": [\"a\", \"b\"]}\n",
            "line 2: y has 2 labels, expected one for each of 1 step",
        ),
        (
            "{\"x\": [1], \"y\": 1, \"label\": 2}\n",
            "line 1, column 26: the object has two targets: y, label and target name the same",
        ),
        ("{\"z\": [1]}\n", "line 1, column 10: expected a field x (or sequence) with the steps"),
    ] {
        refused("a.jsonl", lines, error);
    }
}

#[test]
fn gzip_bombs_and_files_beyond_memory_are_refused() {
    let memory = ReadOptions { memory: Some(1 << 20), ..Default::default() };
    let zeros = "0,1,2,3,4,5,6,7,8,9\n".repeat(200_000);
    let error = outcome("a.csv", &gzip(zeros.as_bytes()), &memory).unwrap_err();
    assert!(error.contains("1.0 MB"), "{error}");
    let error = outcome("a.csv", zeros.as_bytes(), &memory).unwrap_err();
    assert!(error.starts_with("a.csv: its data need about"), "{error}");
    // A text takes memory for its characters' numbers too.
    let text = "a text of some words\n".repeat(20_000);
    for bytes in [text.as_bytes().to_vec(), gzip(text.as_bytes())] {
        let error = outcome("a.txt", &bytes, &memory).unwrap_err();
        assert!(error.starts_with("a.txt: its data need about"), "{error}");
    }
    assert!(outcome("a.txt", &text.as_bytes()[..300_000], &memory).is_ok());
    let mut cut = gzip(zeros.as_bytes());
    cut.truncate(cut.len() / 2);
    let error = outcome("a.csv", &cut, &ReadOptions::default()).unwrap_err();
    assert!(error.contains("gzip"), "{error}");
}
