//! The sources of a crate, read as far as the rules of the house need: modules, what each defines, re-exports and
//! names, and the texts in it. Test code is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A path of names, such as `crate::files::durable`, without `crate`.
pub(crate) type Names = Vec<String>;

/// A module that has a file of its own.
#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) file: PathBuf,
    /// The types, functions, constants and macros that it defines.
    pub(crate) items: BTreeSet<String>,
    /// The types alone: structures, enumerations, traits and aliases.
    pub(crate) types: Vec<String>,
    /// Under which name which path is handed on; `*` for all of a module.
    reexports: Vec<(String, Names)>,
    /// The paths that it names, from the crate's root, each as far as it was written.
    pub(crate) names: BTreeSet<Names>,
    /// Its texts; documentation is none.
    pub(crate) texts: Vec<String>,
    /// The macros that it calls.
    pub(crate) macros: BTreeSet<String>,
    /// How many matches have an arm `true` or `false`, or a tuple of these.
    pub(crate) bool_matches: usize,
}

/// All modules of a crate, by their paths.
pub(crate) struct Crate(pub(crate) BTreeMap<Names, Module>);

impl Crate {
    /// Reads the crate whose root is `root`, such as `src/lib.rs`.
    pub(crate) fn read(root: &Path) -> Self {
        let mut modules = Self(BTreeMap::new());
        modules.add(root, root.parent().unwrap(), Vec::new());
        modules
    }

    /// Reads a file, and those of its modules from `folder`.
    fn add(&mut self, file: &Path, folder: &Path, path: Names) {
        let text = std::fs::read_to_string(file)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let tokens: TokenStream = text.parse().unwrap();
        let mut reader = Reader { path: path.clone(), ..Reader::default() };
        reader.items(tokens, false);
        let Reader { mut module, children, .. } = reader;
        module.file = file.to_path_buf();
        self.0.insert(path.clone(), module);
        for child in children {
            let (beside, below) =
                (folder.join(format!("{child}.rs")), folder.join(&child).join("mod.rs"));
            let file = if beside.exists() { beside } else { below };
            self.add(&file, &folder.join(&child), [path.clone(), vec![child]].concat());
        }
    }

    /// The module that defines what a path names, as far as that is in this crate: re-exports are followed.
    pub(crate) fn definer(&self, names: &[String]) -> Option<&Names> {
        self.follow(names, 8)
    }

    fn follow(&self, names: &[String], depth: usize) -> Option<&Names> {
        let inside =
            (0..=names.len()).rev().find(|length| self.0.contains_key(&names[..*length]))?;
        let (path, module) = self.0.get_key_value(&names[..inside])?;
        let Some(item) = names.get(inside) else { return Some(path) };
        if module.items.contains(item) || depth == 0 {
            return Some(path);
        }
        let handed_on = module.reexports.iter().filter(|(name, _)| name == item || name == "*");
        let found = handed_on.filter_map(|(name, path)| {
            let path = if name == "*" {
                [path.clone(), vec![item.clone()]].concat()
            } else {
                path.clone()
            };
            self.follow(&path, depth - 1).filter(|found| {
                let module = &self.0[*found];
                name != "*" || module.items.contains(item)
            })
        });
        // What is defined nowhere comes from elsewhere, or from a macro.
        found.into_iter().next()
    }
}

#[derive(Default)]
struct Reader {
    path: Names,
    module: Module,
    /// Modules with files of their own.
    children: Vec<String>,
    /// What is told apart in this file by its first name alone.
    local: BTreeMap<String, Names>,
}

impl Reader {
    /// Reads items or statements; `is_inner` inside of an `impl`, a trait or a function, whose types are no names of the module.
    fn items(&mut self, tokens: TokenStream, is_inner: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        let mut in_body = is_inner;
        let mut is_public = false;
        while at < tokens.len() {
            if let Some(cfg_test) = attribute(&tokens, at) {
                at += 2;
                if cfg_test {
                    at = end_of_item(&tokens, at);
                }
                continue;
            }
            let word = word(&tokens, at).unwrap_or_default();
            let name = self::word(&tokens, at + 1);
            match word.as_str() {
                "pub" => is_public = true,
                // `use<'a>` of a type is none.
                "use" if tokens.get(at + 1).is_some_and(|token| !is(token, '<')) => {
                    let is_end = |at: &usize| is(&tokens[*at], ';');
                    let end = (at..tokens.len()).find(is_end).unwrap_or(tokens.len() - 1);
                    self.uses(&tokens[at + 1..end], is_public);
                    at = end;
                    is_public = false;
                }
                "mod" if tokens.get(at + 2).is_some_and(|token| is(token, ';')) => {
                    self.children.extend(name);
                    is_public = false;
                }
                "struct" | "enum" | "union" | "trait" | "type" | "fn" | "const" | "static"
                | "macro_rules"
                    if !is_inner =>
                {
                    let name =
                        if word == "macro_rules" { self::word(&tokens, at + 2) } else { name };
                    if let Some(name) = name.filter(|name| name != "fn") {
                        if ["struct", "enum", "union", "trait", "type"].contains(&word.as_str()) {
                            self.module.types.push(name.clone());
                        }
                        self.module.items.insert(name);
                    }
                    in_body = word != "struct" && word != "enum";
                    is_public = false;
                }
                "impl" => in_body = true,
                "match" => {
                    let body = tokens[at..].iter().find_map(brace);
                    self.module.bool_matches += usize::from(body.is_some_and(has_bool_arm));
                }
                _ => {}
            }
            self.path_at(&tokens, at);
            match &tokens[at] {
                TokenTree::Group(group) => {
                    self.items(group.stream(), is_inner || in_body);
                    if group.delimiter() == Delimiter::Brace {
                        in_body = is_inner;
                        is_public = false;
                    }
                }
                TokenTree::Literal(literal) => self.module.texts.push(literal.to_string()),
                TokenTree::Ident(ident)
                    if tokens.get(at + 1).is_some_and(|token| is(token, '!')) =>
                {
                    self.module.macros.insert(ident.to_string());
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// Takes the path that begins at a token, if one does.
    fn path_at(&mut self, tokens: &[TokenTree], at: usize) {
        let is_inside = at >= 2 && is(&tokens[at - 1], ':') && is(&tokens[at - 2], ':');
        let Some(first) = word(tokens, at).filter(|_| !is_inside) else { return };
        let mut names = vec![first];
        let mut next = at + 1;
        while tokens.get(next).is_some_and(|token| is(token, ':'))
            && tokens.get(next + 1).is_some_and(|token| is(token, ':'))
        {
            let Some(name) = word(tokens, next + 2) else { break };
            names.push(name);
            next += 3;
        }
        if names.len() > 1 {
            let names = self.absolute(names);
            self.module.names.extend(names);
        }
    }

    /// A path from the crate's root; `None` for one of another crate, or of an item in scope.
    fn absolute(&self, names: Names) -> Option<Names> {
        let mut base = self.path.clone();
        let mut rest = names.as_slice();
        match rest[0].as_str() {
            "crate" => (base, rest) = (Vec::new(), &rest[1..]),
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|name| name == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            first => {
                if let Some(known) = self.local.get(first) {
                    (base, rest) = (known.clone(), &rest[1..]);
                } else if !self.children.iter().any(|child| child == first) {
                    return None;
                }
            }
        }
        Some([base, rest.to_vec()].concat())
    }

    /// Takes the paths of a `use`.
    fn uses(&mut self, tokens: &[TokenTree], is_public: bool) {
        let mut paths = Vec::new();
        flatten(tokens, &[], &mut paths);
        for (names, alias) in paths {
            let Some(names) = self.absolute(names) else { continue };
            if is_public {
                // Handing on what another module has is a use of it.
                if !names.starts_with(&self.path) {
                    self.module.names.insert(names.clone());
                }
                self.module.reexports.push((alias, names));
            } else {
                self.local.insert(alias, names.clone());
                self.module.names.insert(names);
            }
        }
    }
}

/// All paths of a `use` tree, each with the name that it has from then on.
fn flatten(tokens: &[TokenTree], before: &[String], found: &mut Vec<(Names, String)>) {
    for tree in tokens.split(|token| is(token, ',')).filter(|tree| !tree.is_empty()) {
        let mut names = before.to_vec();
        let mut alias = None;
        let mut is_group = false;
        for (at, token) in tree.iter().enumerate() {
            match token {
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    flatten(&inner, &names, found);
                    is_group = true;
                }
                TokenTree::Ident(ident) if ident == "as" => {
                    alias = word(tree, at + 1);
                    break;
                }
                TokenTree::Ident(ident) if ident == "self" && !names.is_empty() => {}
                TokenTree::Ident(ident) => names.push(ident.to_string()),
                TokenTree::Punct(punct) if punct.as_char() == '*' => alias = Some("*".into()),
                _ => {}
            }
        }
        if !is_group {
            let last = names.last().cloned().unwrap_or_default();
            found.push((names, alias.unwrap_or(last)));
        }
    }
}

/// Whether an attribute begins here, and whether it is `#[cfg(test)]`, or one with `test` among its conditions.
fn attribute(tokens: &[TokenTree], at: usize) -> Option<bool> {
    let TokenTree::Group(group) = tokens.get(at + 1)? else { return None };
    if !is(&tokens[at], '#') || group.delimiter() != Delimiter::Bracket {
        return None;
    }
    let text = group.stream().to_string().replace(' ', "");
    Some(text == "test" || text == "cfg(test)" || text.starts_with("cfg(all(test"))
}

/// The token behind an item that begins at `at`.
fn end_of_item(tokens: &[TokenTree], at: usize) -> usize {
    let ends = |token: &TokenTree| is(token, ';') || brace(token).is_some();
    (at..tokens.len()).find(|at| ends(&tokens[*at])).map_or(tokens.len(), |end| end + 1)
}

/// Whether a body of a match has an arm `true` or `false`, or one that is a tuple of these.
fn has_bool_arm(body: &Group) -> bool {
    let tokens: Vec<TokenTree> = body.stream().into_iter().collect();
    (0..tokens.len()).any(|at| {
        let begins = at == 0
            || [',', '|'].iter().any(|char| is(&tokens[at - 1], *char))
            || brace(&tokens[at - 1]).is_some();
        let is_bool = word(&tokens, at).is_some_and(|word| is_bool(&word));
        let ends = tokens.get(at + 1).is_some_and(|token| is(token, '=') || is(token, '|'));
        begins && ends && (is_bool || is_tuple_of_bools(&tokens[at]))
    })
}

fn is_bool(word: &str) -> bool {
    word == "true" || word == "false"
}

/// Whether a pattern is a tuple of `true`, `false` and `_`, such as `(true, _)`.
fn is_tuple_of_bools(pattern: &TokenTree) -> bool {
    let TokenTree::Group(group) = pattern else { return false };
    let text = group.stream().to_string().replace(' ', "");
    let mut parts = text.trim_end_matches(',').split(',');
    let is_tuple = group.delimiter() == Delimiter::Parenthesis && text.contains(',');
    is_tuple && text.split(',').any(is_bool) && parts.all(|part| is_bool(part) || part == "_")
}

#[test]
fn a_match_on_bools_is_told_from_others() {
    let body = |text: &str| {
        let tokens: TokenStream = text.parse().unwrap();
        tokens.into_iter().find_map(|token| brace(&token).cloned()).unwrap()
    };
    for text in
        ["{ true => 1, false => 2 }", "{ (true, _) => 1, _ => 2 }", "{ a => {} (_, false) => 2 }"]
    {
        assert!(has_bool_arm(&body(text)), "{text}");
    }
    for text in [
        "{ Some(true) => 1, _ => 2 }",
        "{ (Cell::Gru, true) => 1, _ => 2 }",
        "{ (1, _) => true, (2, _) => false }",
    ] {
        assert!(!has_bool_arm(&body(text)), "{text}");
    }
}

fn brace(token: &TokenTree) -> Option<&Group> {
    match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
        _ => None,
    }
}

fn word(tokens: &[TokenTree], at: usize) -> Option<String> {
    match tokens.get(at)? {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    }
}

fn is(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}
