//! Columns were added: promotion moves every record to its best places. It loads as before, at the same
//! version, and lies as a store of today would put it.

mod meanwhile;
mod moves;
mod stays;
