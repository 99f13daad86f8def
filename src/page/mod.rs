//! The page on which one watches a network read, in one file: what the server shows and `export` writes.
//!
//! `index.html` is its frame, `style.css` its looks, and these are its script:
//!
//! - `page.js`: models, and what is shown of each
//! - the way to a network, of which there are two: `server.js` asks the server that the page comes from, `export` has
//!   one that holds the network
//! - `drawing.js`, `steps.js`: what is drawn and typed, and the time that goes through it
//! - `pictures.js`: curves, pixels, hidden states
//! - `forecast.js`, `text.js`: what continues a series, and a text
//!
//! # Layout
//! - `about`: what the page says of a run
//! - `samples`: digits to be read

mod about;
#[cfg(feature = "sample")]
mod samples;

pub(crate) use about::{run_name, AboutRun};
#[cfg(feature = "sample")]
pub(crate) use samples::samples;

const FRAME: &str = include_str!("index.html");
const STYLE: &str = include_str!("style.css");
/// The lines of the frame in whose place style and script stand.
const PLACES: [&str; 2] = ["/* {{style}} */\n", "// {{scripts}}\n"];
/// The script before the way to a network, and behind it.
const BEGIN: &str = include_str!("page.js");
const REST: [&str; 6] = [
    include_str!("drawing.js"),
    include_str!("steps.js"),
    include_str!("pictures.js"),
    include_str!("forecast.js"),
    include_str!("text.js"),
    "start();\n",
];
/// The way to the server that the page comes from.
#[cfg(feature = "serve")]
pub(crate) const SERVER: &str = include_str!("server.js");

/// The page with a way to a network: JavaScript that has the functions `ask`, `drawn` and `forecastOf`, and, where texts
/// are continued, `eventsOf`.
pub(crate) fn page(connection: &str) -> String {
    let script = [BEGIN, connection].into_iter().chain(REST).collect::<String>();
    FRAME.replacen(PLACES[0], STYLE, 1).replacen(PLACES[1], &script, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_place_for_the_way_to_a_network() {
        let whole = page("const ask = 1;\n");
        assert_eq!(whole.matches("\nconst ask = 1;\n").count(), 1);
        assert_eq!(whole.matches("{{").count(), 0);
        assert_eq!(whole.matches("fetch(").count(), 0);
        assert!(
            whole.contains("<script>\n'use strict';\n") && whole.contains("start();\n</script>")
        );
    }
}
