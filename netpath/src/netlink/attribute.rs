//! Attributes of raw messages (`struct nlattr` of linux/netlink.h).

/// Length of an attribute's head in bytes; attributes begin at multiples of [`ALIGN`].
const HEAD: usize = 4;
const ALIGN: usize = 4;
/// `NLA_TYPE_MASK`: the two bits above it say how the value is encoded.
const TYPE_MASK: u16 = 0x3fff;

/// The attributes of a message, or those nested in another one.
#[derive(Clone, Debug)]
pub(crate) struct Attributes<'a>(Vec<(u16, &'a [u8])>);

impl<'a> Attributes<'a> {
    /// Takes a message's attributes apart.
    ///
    /// # Errors
    /// When one does not fit into its room.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut found = Vec::new();
        let mut rest = bytes;
        while let Some((head, _)) = rest.split_first_chunk::<HEAD>() {
            let [length, kind] = [[head[0], head[1]], [head[2], head[3]]].map(u16::from_ne_bytes);
            let kind = kind & TYPE_MASK;
            let length = usize::from(length);
            let value = rest.get(HEAD..length).ok_or_else(|| {
                format!("attribute {kind} of {length} bytes in {} bytes", rest.len())
            })?;
            found.push((kind, value));
            rest = rest
                .get(length.next_multiple_of(ALIGN)..)
                .unwrap_or_default();
        }
        match rest {
            [] => Ok(Self(found)),
            rest => Err(format!("{} bytes behind its attributes", rest.len())),
        }
    }

    /// Those behind a header of this length.
    ///
    /// # Errors
    /// When the header is cut off, or an attribute does not fit.
    pub fn behind(header: usize, message: &'a [u8]) -> Result<(&'a [u8], Self), String> {
        let (header, rest) = message
            .split_at_checked(header)
            .ok_or_else(|| format!("{} bytes are no whole header", message.len()))?;
        Ok((header, Self::parse(rest)?))
    }

    /// Each with its type.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &'a [u8])> {
        self.0.iter().copied()
    }

    /// The value of this type; of several the last, as the kernel reads them.
    pub fn get(&self, kind: u16) -> Option<&'a [u8]> {
        let found = self.0.iter().rev().find(|(its, _)| *its == kind);
        found.map(|(_, value)| *value)
    }

    /// What is nested in the attribute of this type.
    ///
    /// # Errors
    /// When an attribute in it does not fit.
    pub fn nested(&self, kind: u16) -> Result<Option<Self>, String> {
        self.get(kind).map(Self::parse).transpose()
    }

    /// A number of one byte.
    ///
    /// # Errors
    /// When it has another length.
    pub fn u8(&self, kind: u16) -> Result<Option<u8>, String> {
        Ok(self.fixed::<1>(kind)?.map(|[byte]| byte))
    }

    /// A number in the host's byte order.
    ///
    /// # Errors
    /// When it has another length.
    pub fn u32(&self, kind: u16) -> Result<Option<u32>, String> {
        Ok(self.fixed(kind)?.map(u32::from_ne_bytes))
    }

    /// A number in network byte order.
    ///
    /// # Errors
    /// When it has another length.
    pub fn be32(&self, kind: u16) -> Result<Option<u32>, String> {
        Ok(self.fixed(kind)?.map(u32::from_be_bytes))
    }

    /// A number in network byte order.
    ///
    /// # Errors
    /// When it has another length.
    pub fn be64(&self, kind: u16) -> Result<Option<u64>, String> {
        Ok(self.fixed(kind)?.map(u64::from_be_bytes))
    }

    /// A text, as [`text`] shows it.
    pub fn text(&self, kind: u16) -> Option<String> {
        self.get(kind).map(text)
    }

    /// Bytes of a length that is known.
    ///
    /// # Errors
    /// When there are more or fewer.
    pub fn fixed<const N: usize>(&self, kind: u16) -> Result<Option<[u8; N]>, String> {
        let read = |value: &[u8]| {
            value
                .try_into()
                .map_err(|_| format!("attribute {kind} has {} bytes, not {N}", value.len()))
        };
        self.get(kind).map(read).transpose()
    }
}

/// A text up to the zero that ends it. What is not UTF-8 is shown with escapes, so that it has a name all the same.
pub(crate) fn text(bytes: &[u8]) -> String {
    let bytes = terminated(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

/// What stands before the zero that ends a text.
pub(crate) fn terminated(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    &bytes[..end.unwrap_or(bytes.len())]
}

/// An attribute, padded.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(HEAD + value.len()).expect("an attribute of a request is short");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_taken_apart() {
        let mut bytes = attribute(1, &7u32.to_be_bytes());
        // Nested, as the flag in its type says.
        bytes.extend(attribute(0x8002, &attribute(3, b"eth0\0")));
        bytes.extend(attribute(4, &[9]));
        let found = Attributes::parse(&bytes).expect("whole");
        assert_eq!(found.be32(1), Ok(Some(7)));
        assert_eq!(found.u8(4), Ok(Some(9)));
        assert_eq!(found.u8(5), Ok(None));
        let nested = found.nested(2).expect("whole").expect("there");
        assert_eq!(nested.text(3).as_deref(), Some("eth0"));
        // The last one need not be padded.
        assert!(Attributes::parse(&bytes[..bytes.len() - 3]).is_ok());
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let bytes = attribute(1, &[1, 2, 3, 4]);
        for end in [1, 3, 5, 7] {
            assert!(Attributes::parse(&bytes[..end]).is_err(), "{end}");
        }
        // Shorter than its own head.
        assert!(Attributes::parse(&[3, 0, 1, 0]).is_err());
        assert!(Attributes::behind(5, &[0; 4]).is_err());
        let found = Attributes::parse(&bytes).expect("whole");
        assert!(found.u8(1).is_err() && found.be64(1).is_err());
    }

    #[test]
    fn a_text_that_is_not_utf8_has_a_name_all_the_same() {
        assert_eq!(text(b"caf\xe9\0rest"), "caf\\xe9");
        assert_eq!(text(b"eth0"), "eth0");
    }
}
