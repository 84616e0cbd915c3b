//! A source file as the rules look at it: its code without comments, the insides of strings and
//! what only tests compile.

#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Meta};

/// A source file.
pub struct Source {
    /// Relative to the repository, with forward slashes.
    pub path: String,
    pub text: String,
    pub syntax: syn::File,
}

impl Source {
    pub fn new(path: &str, text: String) -> Self {
        let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.to_owned(), text, syntax }
    }

    /// The code that is part of the server, with line numbers from 1; lines without any are left
    /// out. Comments, the insides of strings and items under `#[cfg(test)]` are not part of it,
    /// and files that hold only tests have none.
    pub fn product_code(&self) -> Vec<(usize, String)> {
        if self.is_test() {
            return Vec::new();
        }
        let tests = self.test_lines();
        let mut lines = self.code();
        lines.retain(|(number, _)| !tests.iter().any(|range| range.contains(number)));
        lines
    }

    /// The code, tests too, with line numbers from 1.
    pub fn code(&self) -> Vec<(usize, String)> {
        let mut lines = vec![String::new(); self.text.lines().count()];
        overlay(self.text.parse().unwrap(), &mut lines);
        let numbered = lines.into_iter().enumerate().map(|(index, line)| (index + 1, line));
        numbered.filter(|(_, line)| !line.is_empty()).collect()
    }

    /// Whether the whole file is a test module.
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs")
            || self.path.ends_with("_tests.rs")
            || self.path.contains("/tests/")
    }

    /// The lines of each item, field, variant, arm or statement under `#[cfg(test)]`.
    fn test_lines(&self) -> Vec<RangeInclusive<usize>> {
        let mut finder = TestLines::default();
        finder.visit_file(&self.syntax);
        finder.found
    }

    /// The top-level module that the file belongs to; none for `lib.rs`, `main.rs` and `bin/`.
    pub fn module(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        let name = inner.split('/').next()?.trim_end_matches(".rs");
        (!["lib", "main", "bin"].contains(&name)).then_some(name)
    }
}

/// Every source file under a directory of the repository.
pub fn sources_under(dir: &str) -> Vec<Source> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    walk(&root.join(dir), &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let relative = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        Source::new(&relative, fs::read_to_string(&path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

/// Puts the tokens into empty lines, each where it stands in the source.
fn overlay(tokens: TokenStream, lines: &mut [String]) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                if !is_comment(group.span()) {
                    put(lines, group.span_open(), open);
                    overlay(group.stream(), lines);
                    put(lines, group.span_close(), close);
                }
            }
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                put(lines, literal.span(), if text.contains('"') { "\"\"" } else { &text });
            }
            TokenTree::Punct(punct) => {
                if !is_comment(punct.span()) {
                    put(lines, punct.span(), &punct.as_char().to_string());
                }
            }
            TokenTree::Ident(ident) => put(lines, ident.span(), &ident.to_string()),
        }
    }
}

/// Whether this is a token of the attribute that a doc comment becomes.
fn is_comment(span: Span) -> bool {
    span.source_text().is_some_and(|text| text.starts_with("//") || text.starts_with("/*"))
}

fn put(lines: &mut [String], span: Span, text: &str) {
    let line = &mut lines[span.start().line - 1];
    let column = span.start().column;
    // Columns count characters, and so does this: text between tokens is blank.
    let present = line.chars().count();
    line.extend(std::iter::repeat_n(' ', column.saturating_sub(present)));
    line.push_str(text);
}

/// Collects what stands under `#[cfg(test)]`.
#[derive(Default)]
struct TestLines {
    found: Vec<RangeInclusive<usize>>,
}

impl TestLines {
    /// Whether a thing with these attributes is only for tests; if so, its lines are noted.
    fn takes(&mut self, attributes: &[Attribute], thing: &impl Spanned) -> bool {
        let is_test = attributes.iter().any(is_cfg_test);
        if is_test {
            let span = thing.span();
            self.found.push(span.start().line..=span.end().line);
        }
        is_test
    }
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else { return false };
    list.path.is_ident("cfg") && list.tokens.to_string() == "test"
}

macro_rules! skip_test_things {
    ($($visit:ident($type:ty): $attributes:expr;)+) => {
        impl<'ast> Visit<'ast> for TestLines {
            $(fn $visit(&mut self, thing: &'ast $type) {
                let attributes: fn(&$type) -> &[Attribute] = $attributes;
                if !self.takes(attributes(thing), thing) {
                    visit::$visit(self, thing);
                }
            })+
        }
    };
}

skip_test_things! {
    visit_item(syn::Item): item_attributes;
    visit_impl_item(syn::ImplItem): impl_item_attributes;
    visit_trait_item_fn(syn::TraitItemFn): |function| &function.attrs;
    visit_variant(syn::Variant): |variant| &variant.attrs;
    visit_field(syn::Field): |field| &field.attrs;
    visit_field_value(syn::FieldValue): |value| &value.attrs;
    visit_arm(syn::Arm): |arm| &arm.attrs;
    visit_local(syn::Local): |local| &local.attrs;
}

fn item_attributes(item: &syn::Item) -> &[Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn impl_item_attributes(item: &syn::ImplItem) -> &[Attribute] {
    match item {
        syn::ImplItem::Const(item) => &item.attrs,
        syn::ImplItem::Fn(item) => &item.attrs,
        syn::ImplItem::Type(item) => &item.attrs,
        syn::ImplItem::Macro(item) => &item.attrs,
        _ => &[],
    }
}
