//! The page on which one watches a network read, in one file: what the server shows and `export` writes.
//!
//! `index.html` is all of it but for the way to a network, of which there are two: `server.js` asks the server that the
//! page comes from, `export` has one that holds the network.
//!
//! - `about`: what the page says of a run
//! - `samples`: digits to be read

mod about;
#[cfg(feature = "sample")]
mod samples;

pub(crate) use about::{run_name, AboutRun, MAX_BEGINNINGS};
#[cfg(feature = "sample")]
pub(crate) use samples::samples;

const PAGE: &str = include_str!("index.html");
/// The line of the page's script in whose place the way to a network stands.
const PLACE: &str = "// {{the connection}}\n";
/// The way to the server that the page comes from.
#[cfg(feature = "serve")]
pub(crate) const SERVER: &str = include_str!("server.js");

/// The page with a way to a network: JavaScript that has the functions `ask` and `drawn`.
pub(crate) fn page(connection: &str) -> String {
    PAGE.replacen(PLACE, connection, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_place_for_the_way_to_a_network() {
        assert_eq!(PAGE.matches(PLACE).count(), 1);
        assert_eq!(PAGE.matches("fetch(").count(), 0);
        assert!(page("const ask = 1;\n").contains("\nconst ask = 1;\n"));
    }
}
