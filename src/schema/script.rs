//! A plan as a script for an SQL editor.

use crate::schema::plan::Plan;

pub(crate) fn script(_plan: &Plan) -> String {
    todo!()
}
