//! CSV and TSV: wide, long, and a series alone.

use candle_rnn::data::formats::{Format, Layout, ReadOptions};
use candle_rnn::data::{Target, TargetKind};

use super::{data, floats, gzip, outcome, real, sequences};

#[test]
fn wide_tables_are_read() {
    let (tsv, format, notes) = real("GunPoint.tsv");
    assert_eq!((format, tsv.len(), tsv.seq_len(0)), (Format::Tsv, 4, 150));
    assert!(notes.iter().any(|note| note.contains("taken for a sequence")), "{notes:?}");
    let (arff, _, _) = real("GunPoint.arff");
    assert_eq!(floats(&tsv, 0), floats(&arff, 0));
    assert_eq!((tsv.label(0), tsv.class_names()), (Some(1), &["1".to_string(), "2".into()][..]));
    let (coffee, format, _) = real("Coffee.txt");
    assert_eq!((format, coffee.len(), coffee.seq_len(0)), (Format::Csv, 3, 286));
    assert_eq!(coffee.class_names(), ["0", "1"]);
    assert_eq!(floats(&coffee, 0)[0], -0.518_418_97);
}

#[test]
fn time_series_are_one_sequence() {
    let (airline, _, notes) = real("Airline.csv");
    assert_eq!((airline.len(), airline.seq_len(0)), (1, 144));
    assert_eq!(
        (airline.features(), floats(&airline, 0)[0]),
        (&["Passengers".to_string()][..], 112.)
    );
    assert!(notes.contains(&"column Date is taken for the time".to_string()), "{notes:?}");
    let (lynx, _, _) = real("Lynx.csv");
    assert_eq!((lynx.seq_len(0), floats(&lynx, 0)[0], lynx.features().len()), (19, 269., 1));
    let (us, _, _) = real("Uschange.csv");
    assert_eq!((us.seq_len(0), us.features().len(), us.target().kind()), (19, 5, TargetKind::None));
    let (ecg, _, _) = real("mitdb.csv");
    assert_eq!((ecg.len(), ecg.target().kind()), (1, TargetKind::StepClass));
    let labels: Vec<u32> = ecg.step_labels(0).unwrap().collect();
    assert_eq!(labels.iter().sum::<u32>(), 61);
    let normal = data("a.csv", "x,label\n1,0\n2,0\n");
    assert!(normal.step_labels(0).unwrap().eq([0, 0]));
    let (belts, _, _) = real("seatbelts.csv");
    assert_eq!(belts.features(), ["KSI"]);
}

#[test]
fn long_tables_have_a_class_for_each_sequence() {
    let text = "\u{feff}id;x;y;label\r\na;1;2;up\r\na;3;4;up\r\nb;5;?;down\r\n";
    for content in [text.as_bytes().to_vec(), gzip(text.as_bytes())] {
        let data = data("a.csv", content);
        assert_eq!((data.len(), data.lengths(), data.features().len()), (2, vec![2, 1], 2));
        assert_eq!(
            (data.id(1), data.class_names()),
            ("b".into(), &["down".into(), "up".into()][..])
        );
        assert_eq!((data.missing().count, &data.missing().first[..]), (1, "line 4, column y"));
    }
    let walk = data("a.csv", "id,x,y,z,class\na,1,2,3,u\nb,1,2,3,v\n");
    assert_eq!(walk.features(), ["x", "y", "z"]);
    let quoted = data("a.csv", "id,\"a, \"\"b\"\"\",label\n\"x\ny\",1,p\n\"x\ny\",2,q\nz,3,q\n");
    assert_eq!((quoted.features(), quoted.id(0)), (&["a, \"b\"".to_string()][..], "x\ny".into()));
    assert!(quoted.step_labels(0).unwrap().eq([0, 1]));
}

#[test]
fn numbered_features_beside_an_id_are_no_steps() {
    let names: Vec<String> = (1..=20).map(|number| format!("x{number}")).collect();
    let row = vec!["0.5"; 20].join(",");
    let loaded =
        data("a.csv", format!("id,{},y\na,{row},1\na,{row},1\nb,{row},2\n", names.join(",")));
    assert_eq!((loaded.lengths(), loaded.features().len()), (vec![2, 1], 20));
    let loaded = data("a.csv", format!("{},y\n{row},1\n{row},1\n{row},2\n", names.join(",")));
    assert_eq!((loaded.lengths(), loaded.features().len()), (vec![20, 20, 20], 1));
}

#[test]
fn numbers_are_targets_when_they_cannot_be_classes() {
    let loaded = data("a.csv", "id,x,target\na,1,0.5\na,2,0.5\nb,3,1.25\n");
    assert_eq!(
        (loaded.target().kind(), loaded.numbers(1)),
        (TargetKind::Numbers, Some(&[1.25][..]))
    );
    let options = ReadOptions { labels: vec!["u".into(), "3".into()], ..Default::default() };
    let several = outcome("a.csv", b"id,u,v,x\na,1,5,0\na,1,5,0\nb,2,6,0\n", &options).unwrap();
    let several = sequences(several);
    let Target::Numbers(numbers) = several.target() else { panic!() };
    assert_eq!(
        (&numbers.names[..], &numbers.values[..]),
        (&["u".to_string(), "v".into()][..], &[1., 5., 2., 6.][..])
    );
    let options = ReadOptions { target: Some(TargetKind::Class), ..Default::default() };
    let classes = outcome("a.csv", b"id,x,y\na,1,0.5\nb,3,1.25\n", &options).unwrap();
    assert_eq!(sequences(classes).class_names(), ["0.5", "1.25"]);
}

#[test]
fn ragged_wide_rows_end_where_values_do() {
    let options = ReadOptions { layout: Some(Layout::Wide), ..Default::default() };
    let loaded = outcome("a.csv", b"a,1,2,4\nb,4,,NaN\nb,5,?,6\n", &options).unwrap();
    let loaded = sequences(loaded);
    assert_eq!((loaded.lengths(), loaded.class_names().len()), (vec![3, 1, 3], 2));
    assert_eq!((loaded.missing().count, &loaded.missing().first[..]), (1, "line 3, column 3"));
    let numbered = data("a.csv", "label,0,1,2,3\nup,1,2,3,5\ndown,4,3,2,0\n");
    assert_eq!(
        (numbered.len(), numbered.seq_len(0), numbered.class_names()[0].as_str()),
        (2, 4, "down")
    );
}

#[test]
fn a_label_written_in_two_ways_is_one() {
    let table = "id,x,group,label\na,1,p,1\na,2, p,1.0\nb,3,q, 2\nb,4,q ,2e0\n";
    let found = data("a.csv", table);
    assert_eq!((found.target().kind(), found.len()), (TargetKind::Class, 2));
    assert_eq!(found.class_names(), ["1", "2"]);
    let names = data("a.csv", "id,x,label\na,1,up\na,2,\" up\"\nb,3,down\nb,4,down \n");
    assert_eq!((names.target().kind(), names.class_names().len()), (TargetKind::Class, 2));
    let steps = data("a.csv", "id,x,label\na,1,1\na,2,2.0\nb,3,1.0\nb,4,2\n");
    assert_eq!((steps.target().kind(), steps.class_names().len()), (TargetKind::StepClass, 2));
}

#[test]
fn quoted_class_names_of_arff_have_commas_and_blanks() {
    let arff = "@relation a\n@attribute x numeric\n@attribute y numeric\n\
                @attribute class {\"c 1\",'c,2', c3}\n@data\n1,2,'c,2'\n3,4,\"c 1\"\n5,6,c3\n";
    let found = data("a.arff", arff);
    let names: Vec<&str> =
        (0..3).map(|at| &found.class_names()[found.label(at).unwrap() as usize][..]).collect();
    assert_eq!(names, ["c,2", "c 1", "c3"]);
}
