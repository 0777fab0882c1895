//! Sealing and opening: the only place where plaintext and ciphertext meet.

pub(crate) mod aead;
pub(crate) mod random;
pub(crate) mod sealer;
