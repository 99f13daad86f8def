//! Lines and names that are long or many, and what is wrong in a way that is easily overlooked.

use super::*;

#[test]
fn a_line_that_leaves_no_memory_is_refused() {
    let memory = ReadOptions { memory: Some(16 << 20), ..Default::default() };
    let values = vec!["1"; 4 << 20].join(",");
    for (name, content) in [
        ("a.ts", format!("@problemName a\n@classLabel true a b\n@data\n{values}:a\n")),
        ("a.arff", format!("@relation a\n@attribute x numeric\n@data\n{values}\n")),
        ("a.csv", format!("{values}\n{values}\n")),
        ("a.jsonl", format!("{{\"x\": [{values}]}}\n")),
        ("a.json", format!("[{{\"x\": [{values}]}}]\n")),
    ] {
        for content in [content.as_bytes().to_vec(), gzip(content.as_bytes())] {
            let error = outcome(name, &content, &memory).unwrap_err();
            assert!(error.contains("memory") && error.contains("into parts"), "{error}");
        }
    }
    let many = format!("@relation a\n@attribute x numeric\n@data\n{}\n", vec!["1"; 100].join(","));
    refused("a.arff", many, "line 4: has 100 values, there are 1 attributes");
}

#[test]
fn arrays_that_are_not_read_are_told() {
    let x = || ("x", arrays::npy("<f4", false, "(2, 2)", &arrays::f32s(&[1., 2., 3., 4.])));
    let more = |name| (name, arrays::npy("<i8", false, "(2,)", &arrays::i64s(&[1, 2])));
    let read = |name| {
        let content = arrays::npz(&[x(), more(name)]);
        outcome("a.npz", &content, &ReadOptions::default()).map(|loaded| loaded.notes)
    };
    assert_eq!(read("weights").unwrap(), ["array weights is left out"]);
    for (name, meant) in [("lenghts", "lengths"), ("lables", "labels"), ("IDs", "ids")] {
        let error = read(name).unwrap_err();
        let said = format!("a.npz: has an array {name}, which is not read: did you mean {meant}?");
        assert!(error.starts_with(&said), "{error}");
    }
    let twice =
        arrays::npz(&[x(), ("ids", arrays::npy("<i8", false, "(2,)", &arrays::i64s(&[7, 7])))]);
    refused(
        "a.npz",
        twice,
        "array ids has \"7\" a second time as element 1: give each sequence an id of its own",
    );
    let missing = arrays::npz(&[
        x(),
        ("y", arrays::npy("<f4", false, "(2,)", &arrays::f32s(&[1., f32::NAN]))),
    ]);
    refused(
        "a.npz",
        missing,
        "array y, element 1: the label is missing, one of 1: give all labels or none",
    );
}

#[test]
fn attributes_that_hold_no_steps_are_told() {
    let arff = "@relation a\n@attribute when date\n@attribute a numeric\n@attribute b numeric\n\
                @attribute class {p,q}\n@data\n\"2020-01-01\",1,2,p\n\"2020-01-02\",3,4,q\n";
    let loaded = outcome("a.arff", arff.as_bytes(), &ReadOptions::default()).unwrap();
    assert_eq!(loaded.notes, ["attribute when is left out: it holds no steps"]);
    assert_eq!(sequences(loaded).lengths(), [2, 2]);
}

#[test]
fn numbers_in_other_notations_have_their_place() {
    for (cell, reason) in [
        ("\"1.234,56\"", "\"1.234,56\" has a decimal comma: write 1234.56"),
        ("5%", "expected a number, got \"5%\""),
        ("1e39", "\"1e39\" is not a finite number of 32 bits"),
    ] {
        let content = format!("id,x\na,{cell}\nb,{cell}\n");
        let error = outcome("a.csv", content.as_bytes(), &ReadOptions::default()).unwrap_err();
        assert!(error.ends_with(&format!("line 2, column x: {reason}")), "{error}");
    }
    let error = outcome("a.csv", b"id,x\na,1\xe9\nb,2\xe9\n", &ReadOptions::default()).unwrap_err();
    assert!(
        error.ends_with("line 2, column x: is not UTF-8 text: save the file as UTF-8"),
        "{error}"
    );
    refused(
        "a.csv",
        "id;x;z\na;1,5;1\nb;2,5;2\n",
        "line 2, column x: \"1,5\" has a decimal comma: write 1.5",
    );
    // A long row behind empty lines is a row.
    let long = format!("id,x\n\n\na,1.{}\n", "0".repeat(300_000));
    assert_eq!(floats(&data("a.csv", long), 0), [1.]);
}

#[test]
fn json_as_python_writes_it_is_read() {
    let read = data(
        "a.jsonl",
        "{\"x\": [1, NaN, 3], \"y\": \"NaN\"}\n{\"x\": [4], \"y\": \"b\"}\n"
            .replace("\"NaN\"", "\"a\""),
    );
    assert_eq!((read.lengths(), read.missing().count), (vec![3, 1], 1));
    let error = outcome("a.jsonl", b"{\"x\": [1, Infinity]}\n", &ReadOptions::default());
    assert!(error.unwrap_err().contains("number out of range"));
    let mixed = "{\"x\": [1], \"y\": 1.25}\n{\"x\": [2], \"y\": \"up\"}\n";
    let notes = outcome("a.jsonl", mixed.as_bytes(), &ReadOptions::default()).unwrap().notes;
    assert_eq!(notes, ["y has texts and numbers with fractions: all of them are names of classes"]);
    let mixed = "{\"x\": [1], \"y\": 1}\n{\"x\": [2], \"lable\": 3, \"y\": \"up\", \"by\": {}}\n";
    for (name, content) in [
        ("a.jsonl", mixed.to_string()),
        ("a.json", format!("[{}]", mixed.trim_end().replace('\n', ","))),
        ("a.jsonl", mixed.replace("\"y\": 1", "\"y\": [1]").replace("\"up\"", "[\"up\"]")),
    ] {
        let notes = outcome(name, content.as_bytes(), &ReadOptions::default()).unwrap().notes;
        let expected = [
            "fields by, lable are left out",
            "y has texts and numbers: all of them are names of classes",
        ];
        assert_eq!(notes, expected, "{name}");
    }
}
