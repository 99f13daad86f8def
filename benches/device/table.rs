//! Results of `just gpu-report`, lines of JSON, as Markdown.
//!
//! Beside the lines of protocol.rs there are, by their `part`: `machine` (`card`, `driver`, `programs`, `commit`), `check`
//! (`name`, `outcome`, `seconds`) and `latency` (`median_ns`, `least_ns`, `most_ns`).

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

/// The dtypes, and how far from `f64` outputs and gradients may be.
const DTYPES: [(&str, f64); 4] = [("f32", 1e-5), ("tf32", 3e-3), ("bf16", 2e-2), ("fp16", 2e-2)];

/// The lines of files; those that are no JSON are left out, as a part that was stopped leaves them.
pub(crate) fn read(files: &[&Path]) -> Vec<Value> {
    let texts = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    let texts: Vec<String> = texts.collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn text<'a>(line: &'a Value, key: &str) -> &'a str {
    line[key].as_str().unwrap_or("")
}

/// The values of a key in the order in which they come.
fn distinct<T: PartialEq>(lines: &[&Value], of: impl Fn(&Value) -> T) -> Vec<T> {
    let mut found = Vec::new();
    for line in lines {
        let value = of(line);
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

/// Whether a program is not ours.
fn is_peer(name: &str) -> bool {
    name.starts_with("pytorch")
}

/// What a row is of.
fn row_of(line: &Value) -> String {
    let sizes: Vec<String> =
        line["shape"].as_array().into_iter().flatten().map(Value::to_string).collect();
    format!("{} {}", text(line, "cell"), sizes.join(", "))
}

/// What a column is of.
fn column_of(line: &Value) -> String {
    let mode = if text(line, "mode") == "eager" { "" } else { ", CUDA graph" };
    format!("{}{mode}", text(line, "side"))
}

/// Three digits.
fn digits(number: f64) -> String {
    let places = if number >= 100. {
        0
    } else if number >= 10. {
        1
    } else if number >= 1. {
        2
    } else {
        3
    };
    format!("{number:.places$}")
}

fn time(line: Option<&&Value>) -> String {
    let Some(line) = line else { return String::new() };
    match [&line["median"], &line["q1"], &line["q3"]].map(Value::as_f64) {
        [Some(median), Some(q1), Some(q3)] => {
            format!("{} ({} to {})", digits(median), digits(q1), digits(q3))
        }
        _ if line.get("failed").is_some() => "failed".into(),
        _ => "not run".into(),
    }
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn head(cells: &[String]) -> String {
    row(cells) + &format!("|{}\n", "---|".repeat(cells.len()))
}

/// How many times as fast as another column's our own is.
fn ratio(own: Option<&&Value>, other: Option<&&Value>) -> String {
    let median = |line: Option<&&Value>| line.and_then(|line| line["median"].as_f64());
    match (median(own), median(other)) {
        (Some(own), Some(other)) => format!("{:.2}", other / own),
        _ => String::new(),
    }
}

fn times(lines: &[&Value], what: &str) -> String {
    let (rows, columns) = (distinct(lines, row_of), distinct(lines, column_of));
    let peers: Vec<&String> = columns.iter().filter(|name| is_peer(name)).collect();
    // The first of ours, wherever it stands.
    let own = columns.iter().find(|name| !is_peer(name));
    let mut heads = vec![what.to_string()];
    heads.extend(columns.iter().cloned());
    if own.is_some() {
        heads.extend(peers.iter().map(|peer| format!("times as fast as {peer}")));
    }
    let mut table = head(&heads);
    for name in &rows {
        let find = |column: &String| {
            lines.iter().find(|line| row_of(line) == *name && column_of(line) == *column)
        };
        let mut cells = vec![name.trim().to_string()];
        cells.extend(columns.iter().map(|column| time(find(column))));
        if let Some(own) = own {
            cells.extend(peers.iter().map(|peer| ratio(find(own), find(peer))));
        }
        table += &row(&cells);
    }
    table
}

fn errors(lines: &[&Value], limit: f64) -> String {
    let (rows, columns) = (distinct(lines, row_of), distinct(lines, column_of));
    let mut heads = vec!["layer: B, T, I, H".to_string()];
    heads.extend(columns.iter().cloned());
    let mut table = head(&heads);
    for name in &rows {
        let mut cells = vec![name.clone()];
        cells.extend(columns.iter().map(|column| {
            let line = lines.iter().find(|l| row_of(l) == *name && column_of(l) == *column);
            let number = |key: &str| line.and_then(|line| line[key].as_f64());
            let of = |key: &str| match number(key) {
                // A NaN is null in JSON.
                None if line.is_some_and(|line| line.get(key).is_some()) => "**NaN**".into(),
                None => String::new(),
                Some(error) if error > limit => format!("**{error:.1e}**"),
                Some(error) => format!("{error:.1e}"),
            };
            let pair = [of("outputs"), of("gradients")];
            if pair.iter().all(String::is_empty) {
                String::new()
            } else {
                pair.join(", ")
            }
        }));
        table += &row(&cells);
    }
    table
}

/// The layers of ours whose outputs or gradients are further from `f64` than their dtype may be, and those that gave NaN, in words.
///
/// # Errors
/// Where no layer of ours was held to it.
pub(crate) fn beyond(lines: &[Value]) -> Result<Vec<String>, String> {
    let is_held = |line: &&Value| {
        text(line, "part") == "layer"
            && !is_peer(text(line, "side"))
            && ["outputs", "gradients"].iter().any(|key| line.get(key).is_some())
    };
    let held: Vec<&Value> = lines.iter().filter(is_held).collect();
    if held.is_empty() {
        return Err("no layer of ours was held to f64".into());
    }
    let mut found = Vec::new();
    for line in held {
        let limit = DTYPES.iter().find(|(dtype, _)| *dtype == text(line, "dtype"));
        let limit = limit.map_or(0., |(_, limit)| *limit);
        for key in ["outputs", "gradients"] {
            // A NaN is null in JSON.
            let error = line[key].as_f64().unwrap_or(f64::NAN);
            if error.is_nan() || error > limit {
                let (what, dtype) = (row_of(line), text(line, "dtype"));
                let column = column_of(line);
                found.push(format!(
                    "{what}, {column}, {dtype}: {key} {error:.1e} from f64, at most {limit:.0e}"
                ));
            }
        }
    }
    Ok(found)
}

/// A report of results.
pub(crate) fn markdown(lines: &[Value]) -> String {
    let of = |part: &str| lines.iter().filter(|l| text(l, "part") == part).collect::<Vec<_>>();
    let mut out = String::new();
    for machine in of("machine") {
        let _ = writeln!(out, "# {}\n", text(machine, "card"));
        let _ = writeln!(
            out,
            "Driver {}, programs {}, commit {}.\n",
            text(machine, "driver"),
            text(machine, "programs"),
            text(machine, "commit")
        );
    }
    for check in of("check") {
        let seconds = check["seconds"].as_f64().map_or(String::new(), |s| format!(" ({s:.0} s)"));
        let _ = writeln!(out, "- {}: {}{seconds}", text(check, "name"), text(check, "outcome"));
    }
    for latency in of("latency") {
        let _ = writeln!(
            out,
            "- a word takes {} ns from block to block, {} to {} in {} rounds",
            latency["median_ns"], latency["least_ns"], latency["most_ns"], latency["rounds"]
        );
    }
    let steps = of("step");
    if !steps.is_empty() {
        out += "\n## A training step of the reference job\n\nMilliseconds: the median and the quartiles of rounds in turns, each the mean of some steps.\n\n";
        out += &times(&steps, "");
    }
    let layers = of("layer");
    for (dtype, limit) in DTYPES {
        let lines: Vec<&Value> =
            layers.iter().filter(|line| text(line, "dtype") == dtype).copied().collect();
        if lines.is_empty() {
            continue;
        }
        let _ = writeln!(
            out,
            "\n## Layers, {dtype}\n\nMilliseconds, forward and backward: the median and the quartiles of rounds in turns.\n"
        );
        out += &times(&lines, "layer: B, T, I, H");
        if lines.iter().any(|line| line.get("outputs").is_some()) {
            let _ = writeln!(
                out,
                "\nThe largest difference of outputs, and of gradients, from `f64`, over the largest number of the tensor; **bold** \
                 beyond {limit:.0e}.\n"
            );
            out += &errors(&lines, limit);
        }
    }
    let missing: Vec<String> = lines
        .iter()
        .filter_map(|line| {
            let why = line["failed"].as_str().or(line["skipped"].as_str())?;
            let what = format!("{} {}", text(line, "part"), row_of(line));
            Some(format!("- {}, {}, {}: {why}", what.trim(), column_of(line), text(line, "dtype")))
        })
        .collect();
    if !missing.is_empty() {
        let _ = writeln!(out, "\n## Without a time\n\n{}", missing.join("\n"));
    }
    out
}
