//! The secret bytes of a key: on the heap, where they are shared and never copied, and wiped once.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::crypto::random;
use crate::error::Result;

/// 32 secret bytes. Clones share them, and what is moved is a pointer: a value that is moved leaves its bytes behind on the
/// stack.
#[derive(Clone)]
pub(crate) struct Material(Arc<Zeroizing<[u8; 32]>>);

impl Material {
    /// Bytes from the operating system.
    ///
    /// # Errors
    /// `Entropy`.
    pub(crate) fn random() -> Result<Self> {
        Self::written_by(random::fill_key)
    }

    /// Bytes that are written where they stay.
    pub(crate) fn written_by(write: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<Self> {
        let mut bytes = Arc::new(Zeroizing::new([0; 32]));
        write(Arc::get_mut(&mut bytes).expect("nobody shares it yet").as_mut_slice())?;
        Ok(Self(bytes))
    }

    /// A copy of bytes that lie elsewhere.
    pub(crate) fn copied(from: &[u8; 32]) -> Self {
        let copied = Self::written_by(|bytes| {
            bytes.copy_from_slice(from);
            Ok(())
        });
        copied.expect("copying cannot fail")
    }
}

impl Deref for Material {
    type Target = [u8; 32];

    fn deref(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Material(…)")
    }
}
