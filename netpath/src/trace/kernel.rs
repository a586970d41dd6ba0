//! What this kernel calls its reasons and its functions, and where it keeps what is looked at.

use std::{collections::BTreeMap, fs, io, path::Path};

use netpath_common::trace::{TraceOffsets, TracePoint};

use super::{TraceError, btf::Btf};

/// The description of the kernel's own types.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// Its functions, by address.
const SYMBOLS: &str = "/proc/kallsyms";
/// What the kernel's names of drop reasons begin with.
const REASON: &str = "SKB_DROP_REASON_";

/// What is known of this kernel.
#[derive(Debug)]
pub struct Kernel {
    /// Where it keeps what is looked at.
    pub offsets: TraceOffsets,
    reasons: BTreeMap<u32, String>,
    symbols: Symbols,
    /// What it cannot tell, a sentence each.
    pub lacks: Vec<String>,
}

impl Kernel {
    /// Of this machine.
    ///
    /// # Errors
    /// When the kernel does not describe its types.
    pub fn of_machine() -> Result<Self, TraceError> {
        let bytes = read(BTF)?;
        let btf = Btf::parse(&bytes)?;
        let arguments = |point: TracePoint| {
            let found = btf.arguments(point.tracepoint())?;
            Ok::<_, TraceError>(found.unwrap_or(0))
        };
        let offsets = TraceOffsets {
            skb_dev: btf.offset("sk_buff.dev")?,
            skb_len: btf.offset("sk_buff.len")?,
            skb_mark: btf.offset("sk_buff.mark")?,
            skb_head: btf.offset("sk_buff.head")?,
            skb_data: btf.offset("sk_buff.data")?,
            skb_tail: btf.offset("sk_buff.tail")?,
            skb_network_header: btf.offset("sk_buff.network_header")?,
            dev_ifindex: btf.offset("net_device.ifindex")?,
            dev_net: btf.offset("net_device.nd_net")?,
            net_inum: btf.offset("net.ns.inum")?,
            has_reason: u32::from(arguments(TracePoint::Dropped)? >= 3),
            has_consumer: u32::from(arguments(TracePoint::Consumed)? >= 2),
            sample: 1,
            rate: u32::MAX,
        };
        let reasons = btf.names("skb_drop_reason")?;
        let reasons = reasons.into_iter().map(|(number, name)| {
            let name = name.strip_prefix(REASON).unwrap_or(name);
            (number, name.to_owned())
        });
        let symbols = Symbols::of_machine()?;
        let mut lacks = Vec::new();
        if offsets.has_reason == 0 {
            lacks.push(
                "this kernel does not say why it drops a packet (Linux 5.17 does)".to_owned(),
            );
        }
        if symbols.0.is_empty() {
            let what = "the kernel's functions cannot be named: /proc/kallsyms shows no addresses (CAP_SYSLOG, kptr_restrict)";
            lacks.push(what.to_owned());
        }
        Ok(Self {
            offsets,
            reasons: reasons.collect(),
            symbols,
            lacks,
        })
    }

    /// The name of a drop reason; of one that a part of the kernel has of its own, its number.
    pub fn reason(&self, number: u32) -> String {
        let known = self.reasons.get(&number).cloned();
        known.unwrap_or_else(|| format!("reason {number:#x}"))
    }

    /// The function that an address is in.
    pub fn function(&self, address: u64) -> Option<&str> {
        self.symbols.at(address)
    }
}

/// Functions by their addresses, in order.
#[derive(Debug)]
struct Symbols(Vec<(u64, String)>);

impl Symbols {
    fn of_machine() -> Result<Self, TraceError> {
        let text = read(SYMBOLS)?;
        Ok(Self::parse(&String::from_utf8_lossy(&text)))
    }

    /// As /proc/kallsyms has them: address, type, name. Without the right to see them all addresses are 0.
    fn parse(text: &str) -> Self {
        let function = |line: &str| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let is_function = ["t", "T", "w", "W"].contains(&words.next()?);
            // What the compiler puts before a function.
            let name = words.next().filter(|name| !name.starts_with("__pfx_"))?;
            (is_function && address != 0).then(|| (address, name.to_owned()))
        };
        let mut symbols: Vec<_> = text.lines().filter_map(function).collect();
        symbols.sort();
        Self(symbols)
    }

    fn at(&self, address: u64) -> Option<&str> {
        let after = self.0.partition_point(|(begin, _)| *begin <= address);
        let (_, name) = self.0.get(after.checked_sub(1)?)?;
        // What an optimizing compiler has made of one function: `ip_rcv_core.isra.0`.
        Some(name.split_once('.').map_or(name, |(name, _)| name))
    }
}

fn read(path: &str) -> Result<Vec<u8>, TraceError> {
    fs::read(Path::new(path)).map_err(|source: io::Error| TraceError::File {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_found_by_any_address_in_it() {
        let symbols = Symbols::parse(
            "0000000000001000 T __pfx_ip_rcv\n0000000000001010 T ip_rcv\n0000000000001100 t ip_forward.cold\n\
             0000000000000000 T hidden\n0000000000001080 D data\n",
        );
        for (address, name) in [
            (0xfff, None),
            (0x1010, Some("ip_rcv")),
            (0x10ff, Some("ip_rcv")),
            (0x1100, Some("ip_forward")),
            (0x9999, Some("ip_forward")),
        ] {
            assert_eq!(symbols.at(address), name, "{address:#x}");
        }
    }

    #[test]
    fn this_kernel_is_known() {
        let kernel = Kernel::of_machine().expect("BTF and symbols");
        assert_ne!(kernel.offsets.skb_dev, kernel.offsets.skb_len);
        assert_eq!(kernel.reason(2), "NOT_SPECIFIED");
        assert_eq!(kernel.lacks, Vec::<String>::new());
    }
}
