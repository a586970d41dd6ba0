//! Functions that the verifier looks at once (global functions, `BTF_FUNC_GLOBAL`).
//!
//! A static function it follows from each call anew, with what it knows there, and goes on behind the call once for each way through
//! it. Of a global one it takes the arguments for any numbers, looks whether it is safe for them, and goes on behind each call with
//! any result. So nothing in it may rest on what a caller has checked: a packet's headers are asked for again.

/// Declares such a function, by a name that is unique in the programs, which does what another function does. There are five words for
/// arguments, and references to the stack cannot be passed. A packet takes two of them; one of
/// which nothing is asked but what the context tells takes one. The result is a number: zero, where there is none, for the
/// kernel knows no global functions without one.
macro_rules! once {
    ($visible:vis fn $name:ident(&mut skb $(, $argument:ident: $type:ty)*) -> $result:ty = $body:expr) => {
        once!(@ $visible $name(skb: &mut $crate::access::Skb $(, $argument: $type)*)
            by (raw: $crate::access::Context = skb.raw(), missing: u32 = skb.missing() $(, $argument: $type = $argument)*)
            $result = $body(&mut $crate::access::Skb::of(raw, missing) $(, $argument)*));
    };
    ($visible:vis fn $name:ident(&skb $(, $argument:ident: $type:ty)*) -> $result:ty = $body:expr) => {
        once!(@ $visible $name(skb: &$crate::access::Skb $(, $argument: $type)*)
            by (raw: $crate::access::Context = skb.raw(), missing: u32 = skb.missing() $(, $argument: $type = $argument)*)
            $result = $body(&$crate::access::Skb::of(raw, missing) $(, $argument)*));
    };
    ($visible:vis fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty = $body:expr) => {
        once!(@ $visible $name($($argument: $type),*) by ($($argument: $type = $argument),*) $result = $body($($argument),*));
    };
    ($visible:vis fn $name:ident(&context $(, $argument:ident: $type:ty)*) -> $result:ty = $body:expr) => {
        once!(@ $visible $name(skb: &$crate::access::Skb $(, $argument: $type)*)
            by (raw: $crate::access::Context = skb.raw() $(, $argument: $type = $argument)*)
            $result = $body(&$crate::access::Skb::frame(raw) $(, $argument)*));
    };
    ($visible:vis fn $name:ident(&context $(, $argument:ident: $type:ty)*) = $body:expr) => {
        once!(@ $visible $name(skb: &$crate::access::Skb $(, $argument: $type)*)
            by (raw: $crate::access::Context = skb.raw() $(, $argument: $type = $argument)*)
            u32 = { $body(&$crate::access::Skb::frame(raw) $(, $argument)*); 0 });
    };
    ($visible:vis fn $name:ident(&skb $(, $argument:ident: $type:ty)*) = $body:expr) => {
        once!(@ $visible $name(skb: &$crate::access::Skb $(, $argument: $type)*)
            by (raw: $crate::access::Context = skb.raw(), missing: u32 = skb.missing() $(, $argument: $type = $argument)*)
            u32 = { $body(&$crate::access::Skb::of(raw, missing) $(, $argument)*); 0 });
    };
    ($visible:vis fn $name:ident($($argument:ident: $type:ty),*) = $body:expr) => {
        once!(@ $visible $name($($argument: $type),*) by ($($argument: $type = $argument),*)
            u32 = { $body($($argument),*); 0 });
    };
    (@ $visible:vis $name:ident($($outer:ident: $outer_type:ty),*) by ($($inner:ident: $inner_type:ty = $value:expr),*)
        $result:ty = $body:expr) => {
        #[inline(always)]
        $visible fn $name($($outer: $outer_type),*) -> $result {
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $name($($inner: $inner_type),*) -> $result {
                $body
            }
            $name($($value),*)
        }
    };
}

pub(crate) use once;
