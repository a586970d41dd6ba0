//! Only one file of the programs touches a packet's bytes and the kernel's context of it: all else asks that file, whose types let
//! no pointer outlive the bytes that it points to. The sources are looked at as tokens, so that macros hide nothing.

use std::{fs, path::Path, str::FromStr as _};

use anyhow::{Context as _, Result, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::files;

/// Who may, below the folder of the programs: the one file, and the two programs that are objects of their own.
const MAY: [&str; 3] = ["access.rs", "floor.rs", "observer.rs"];

/// How the names of functions begin that read or write packets, or any memory of the kernel's.
const HELPERS: [&str; 7] = [
    "bpf_csum_",
    "bpf_dynptr_",
    "bpf_l3_csum_",
    "bpf_l4_csum_",
    "bpf_probe_read",
    "bpf_skb_",
    "bpf_xdp_",
];

/// The same as methods of aya's contexts, and the pointers in them.
const METHODS: [&str; 17] = [
    "adjust_room",
    "cb",
    "change_head",
    "change_proto",
    "change_tail",
    "change_type",
    "clone_redirect",
    "data",
    "data_end",
    "data_meta",
    "l3_csum_replace",
    "l4_csum_replace",
    "load_bytes",
    "pull_data",
    "set_mark",
    "skb",
    "vlan_push",
];

/// The same of methods that maps have too: of a packet they are given an offset.
const WITH_OFFSET: [&str; 2] = ["load", "store"];

/// Every touch of packets outside the files that may, a line each.
pub fn faults(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("netpath-ebpf/src");
    let mut faults = Vec::new();
    for file in files(&folder)? {
        let inside = file.strip_prefix(&folder)?.display().to_string();
        if MAY.contains(&inside.as_str()) {
            continue;
        }
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let shown = file.strip_prefix(root)?.display().to_string();
        let touched = touched(&text).with_context(|| shown.clone())?;
        faults.extend(touched.into_iter().map(|(line, name)| {
            format!("{shown}:{line}: {name}: only netpath-ebpf/src/access.rs touches packets")
        }));
    }
    Ok(faults)
}

/// Names by which a source touches a packet, with their lines.
pub fn touched(text: &str) -> Result<Vec<(usize, String)>> {
    let tokens = TokenStream::from_str(text).map_err(|error| anyhow!("{error}"))?;
    let mut found = Vec::new();
    walk(tokens, &mut found);
    Ok(found)
}

fn walk(tokens: TokenStream, found: &mut Vec<(usize, String)>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => walk(group.stream(), found),
            TokenTree::Ident(ident) => {
                let name = ident.to_string();
                let is_member = at > 0 && is_dot(&tokens[at - 1]);
                if is_touch(&name, is_member, tokens.get(at + 1)) {
                    found.push((ident.span().start().line, name));
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn is_touch(name: &str, is_member: bool, next: Option<&TokenTree>) -> bool {
    let is_helper = HELPERS.iter().any(|helper| name.starts_with(helper)) || name == "__sk_buff";
    let is_method = is_member && METHODS.contains(&name);
    is_helper || is_method || is_member && WITH_OFFSET.contains(&name) && has_arguments(next)
}

fn is_dot(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == '.')
}

/// Whether a call has arguments, or says of what type its answer is.
fn has_arguments(next: Option<&TokenTree>) -> bool {
    match next {
        Some(TokenTree::Group(group)) => {
            group.delimiter() == Delimiter::Parenthesis && !group.stream().is_empty()
        }
        Some(TokenTree::Punct(punct)) => punct.as_char() == ':',
        _ => false,
    }
}
