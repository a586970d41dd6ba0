//! What a file names: modules of its own package, crates, macros that print.

use std::path::Path;

use anyhow::Result;
use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{
    Attribute, ItemMod, ItemUse, Macro, UseTree,
    visit::{self, Visit},
};

/// Something that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Where, from 1.
    pub line: usize,
    /// The path from the package's root, such as `crate::netlink::Netlink` or `std::fs::File`; a macro ends with `!`.
    pub path: Vec<String>,
}

/// What a file of a package names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The top-level module that it belongs to; empty for the package's root.
    pub module: String,
    /// In the order of the text.
    pub names: Vec<Named>,
}

/// Reads a file. `inside` is its path below the package's source.
pub fn read(inside: &Path, text: &str) -> Result<File> {
    let mut modules: Vec<String> = inside
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if modules
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        modules.pop();
    }
    let mut reader = Reader {
        modules,
        names: Vec::new(),
    };
    let module = reader.modules.first().cloned().unwrap_or_default();
    let file = syn::parse_file(text)?;
    if !is_test(&file.attrs) {
        reader.visit_file(&file);
    }
    Ok(File {
        module,
        names: reader.names,
    })
}

struct Reader {
    /// The modules around what is being read, outermost first.
    modules: Vec<String>,
    names: Vec<Named>,
}

impl Reader {
    fn name(&mut self, span: Span, path: Vec<String>) {
        let path = self.absolute(path);
        if !path.is_empty() {
            let line = span.start().line;
            self.names.push(Named { line, path });
        }
    }

    /// `self` and `super` resolved; what is neither is as it stands.
    fn absolute(&self, path: Vec<String>) -> Vec<String> {
        let ups = path.iter().take_while(|part| *part == "super").count();
        let is_relative = ups > 0 || path.first().is_some_and(|first| first == "self");
        if !is_relative {
            return path;
        }
        let rest = path
            .into_iter()
            .skip_while(|part| part == "super" || part == "self");
        let kept = self.modules.len().saturating_sub(ups);
        let around = self.modules[..kept].iter().cloned();
        std::iter::once("crate".to_owned())
            .chain(around)
            .chain(rest)
            .collect()
    }

    fn tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.tree(&with(path.ident.to_string()), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(before, item)),
            UseTree::Name(name) => self.name(name.ident.span(), with(name.ident.to_string())),
            UseTree::Rename(name) => self.name(name.ident.span(), with(name.ident.to_string())),
            UseTree::Glob(glob) => self.name(glob.star_token.spans[0], with("*".to_owned())),
        }
    }

    /// Paths in what a macro is given, which is not parsed: names that are joined by double colons.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut span, mut colons) = (Span::call_site(), 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if colons == 2 || path.is_empty() => {
                    if path.is_empty() {
                        span = ident.span();
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => {
                    colons += 1
                }
                other => {
                    self.end_of_path(span, &mut path);
                    colons = 0;
                    match other {
                        TokenTree::Ident(ident) => {
                            span = ident.span();
                            path.push(ident.to_string());
                        }
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        TokenTree::Punct(_) | TokenTree::Literal(_) => {}
                    }
                }
            }
        }
        self.end_of_path(span, &mut path);
    }

    fn end_of_path(&mut self, span: Span, path: &mut Vec<String>) {
        let path = std::mem::take(path);
        if path.len() > 1 {
            self.name(span, path);
        }
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<syn::Ident>()
                    .is_ok_and(|condition| condition == "test")
    })
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes: &[Attribute] = match item {
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.modules.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.modules.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let Some(first) = path.segments.first().filter(|_| path.segments.len() > 1) {
            let parts = path.segments.iter().map(|part| part.ident.to_string());
            self.name(first.ident.span(), parts.collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        if let Some(last) = call.path.segments.last() {
            self.name(last.ident.span(), vec![format!("{}!", last.ident)]);
        }
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}
