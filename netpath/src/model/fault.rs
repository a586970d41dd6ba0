//! What can be wrong with a topology file.

use crate::finding::kinds;

kinds! {
    /// What can be wrong with a topology file.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum FaultKind {
        /// The text is not TOML.
        NotToml = "not_toml", "correct the TOML; texts stand in double quotes, lists in square brackets";
        /// A key or a table stands twice where it may stand once.
        DuplicateKey = "duplicate_key", "write each key once; a further table of a kind starts with its own \
            [[...]] header";
        /// A table has a key that it cannot have.
        UnknownKey = "unknown_key", "write one of the table's keys, or move it to the table whose key it is";
        /// A key that a table must have is not there.
        MissingKey = "missing_key", "add it";
        /// A value is of another type of TOML than its key takes.
        WrongType = "wrong_type", "write the type that the key takes";
        /// A number is outside the range of its key.
        OutOfRange = "out_of_range", "write a number within the range";
        /// A word is none of those that its key takes.
        UnknownValue = "unknown_value", "write one of them";
        /// The file has no node.
        NoNodes = "no_nodes", "write at least one [[node]]";
        /// A list that must have an address has none.
        NoAddresses = "no_addresses", "add at least one";
        /// A list has more entries than netpath takes.
        TooMany = "too_many", "write fewer";
        /// A name is empty, too long, or has a character that it cannot have.
        BadName = "bad_name", "write letters, digits, `_` and `-`, and no more than fit";
        /// A name means something else already.
        ReservedName = "reserved_name", "choose another name";
        /// Two nodes or endpoints have one name.
        DuplicateName = "duplicate_name", "give each node and each endpoint its own name";
        /// Two interfaces of a node have one name.
        DuplicateInterface = "duplicate_interface", "give each interface of a node its own name";
        /// A setting of lab nodes is on a node that is the machine itself.
        LabOnly = "lab_only", "remove it";
        /// More than one node is the machine itself.
        SecondHost = "second_host", "keep one node with netns = \"host\"";
        /// The maps are to have less room than the file itself needs.
        CapacityTooSmall = "capacity_too_small", "write a larger number";

        /// A text is not an IP address alone.
        NotAnAddress = "not_an_address", "write an address, without a prefix length";
        /// A text is not an IP address with a prefix length.
        NotAPrefix = "not_a_prefix", "write one such as \"10.0.1.2/24\" or \"fd00:1::2/64\"";
        /// An address lacks its prefix length.
        NoPrefixLength = "no_prefix_length", "add it; /32 or /128 for this address alone";
        /// A prefix length is no number, or not one that the family has or the key can have.
        BadPrefixLength = "bad_prefix_length", "write one of 1 to 32, or of 1 to 128 for IPv6";
        /// A prefix has bits set after its length.
        HostBitsSet = "host_bits_set", "write it with zeros there";
        /// A prefix is the default route, which is the kernel's.
        DefaultRoute = "default_route", "remove it, or write narrower prefixes";
        /// An address or prefix is, or contains, what is never forwarded: loopback, link-local, multicast, reserved.
        NotForwardable = "not_forwardable", "write unicast addresses that can be routed";
        /// An address is its subnet's own, its broadcast address or its routers' anycast address.
        SubnetReserved = "subnet_reserved", "write the address of a host";
        /// An address is used twice.
        DuplicateAddress = "duplicate_address", "give each endpoint and each uplink its own addresses";
        /// A prefix is twice in a list.
        DuplicatePrefix = "duplicate_prefix", "write each prefix once";
        /// Two prefixes that must not share addresses do.
        PrefixOverlap = "prefix_overlap", "give each endpoint, and each uplink of a node, prefixes of its own";
        /// A prefix is no more than an address that the endpoint has itself.
        PrefixIsOwnAddress = "prefix_is_own_address", "remove it";
        /// A prefix is of a family that the endpoint has no address of, so it has no next hop.
        PrefixWithoutNextHop = "prefix_without_next_hop", "add an address of that family to the endpoint, or remove \
            the prefix";
        /// An endpoint has an address of a family that no uplink of its node has.
        FamilyWithoutUplink = "family_without_uplink", "add an address of that family to the uplink, or remove this \
            one";

        /// A node has two routes to one destination.
        DuplicateRoute = "duplicate_route", "write each destination once in a node";
        /// A route leads to the prefix of one of the node's uplinks.
        RouteToUplink = "route_to_uplink", "remove it: the uplink's address makes this route";
        /// A route's destination overlaps addresses of one of the node's own endpoints.
        RouteToOwnEndpoint = "route_to_own_endpoint", "write a wider prefix, or only prefixes of other nodes' endpoints";
        /// A route's next hop is of another family than its destination.
        NextHopFamily = "next_hop_family", "write the next hop's IPv6 address";
        /// A route's next hop is an address of the node itself or of one of its endpoints.
        NextHopOwn = "next_hop_own", "write another node's address";
        /// A route's next hop is in no subnet of an uplink.
        NextHopUnreachable = "next_hop_unreachable", "write an address in an uplink's subnet, or add an uplink";
        /// No node on the wire has the address of a route's next hop.
        NextHopUnknown = "next_hop_unknown", "write the address of a node on that wire";
        /// A next hop is link-local, and nothing says on which link.
        NextHopWithoutDev = "next_hop_without_dev", "add dev with the uplink that it is on the link of";
        /// The interface of a route is no uplink of its node.
        RouteDevUnknown = "route_dev_unknown", "write an uplink of the node";
    }
}

/// What is wrong with a value, before it is known where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    pub(super) problem: String,
    pub(super) cure: String,
}

impl Fault {
    pub(super) fn new(
        kind: FaultKind,
        problem: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            problem: problem.into(),
            cure: cure.into(),
        }
    }
}
