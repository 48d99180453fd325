//! The SQLite of a Durable Object.
//!
//! The bindings are the object's own: each call catches the exceptions of the runtime. An exception that is not caught ends the
//! whole instance, and leaves its callers without a response.

use wasm_bindgen::{JsCast as _, JsValue, prelude::wasm_bindgen};
use worker::{State, js_sys};

use super::database::{Database, RollBack, SqlError, Value};
use crate::js_error;

#[wasm_bindgen]
extern "C" {
    type ObjectStorage;

    #[wasm_bindgen(method, catch, getter)]
    fn sql(this: &ObjectStorage) -> Result<SqlStorage, JsValue>;

    #[wasm_bindgen(method, catch, js_name = transactionSync)]
    fn transaction_sync(
        this: &ObjectStorage,
        work: &mut dyn FnMut() -> Result<JsValue, JsValue>,
    ) -> Result<JsValue, JsValue>;

    type SqlStorage;

    #[wasm_bindgen(method, catch, variadic)]
    fn exec(this: &SqlStorage, statement: &str, values: js_sys::Array) -> Result<SqlCursor, JsValue>;

    #[wasm_bindgen(method, catch, getter, js_name = databaseSize)]
    fn database_size(this: &SqlStorage) -> Result<JsValue, JsValue>;

    type SqlCursor;

    #[wasm_bindgen(method, catch, js_name = toArray)]
    fn to_array(this: &SqlCursor) -> Result<JsValue, JsValue>;
}

/// The database of the object with this state.
pub struct ObjectDatabase {
    storage: ObjectStorage,
    sql: SqlStorage,
}

impl ObjectDatabase {
    /// Opens the database.
    pub fn open(state: &State) -> Result<Self, SqlError> {
        let raw: JsValue = AsRef::<JsValue>::as_ref(state.as_raw()).clone();
        let storage = js_sys::Reflect::get(&raw, &"storage".into()).map_err(|error| failed(&error))?;
        let storage: ObjectStorage = storage.unchecked_into();
        let sql = storage.sql().map_err(|error| failed(&error))?;
        Ok(Self { storage, sql })
    }
}

fn failed(error: &JsValue) -> SqlError {
    SqlError(js_error::message(error))
}

impl Database for ObjectDatabase {
    fn rows(&self, statement: &str, values: &[Value<'_>]) -> Result<String, SqlError> {
        let bound = js_sys::Array::new();
        for value in values {
            bound.push(&match value {
                Value::Null => JsValue::NULL,
                #[expect(clippy::cast_precision_loss, reason = "times and counts are far below 2^53")]
                Value::Integer(number) => JsValue::from_f64(*number as f64),
                Value::Text(text) => JsValue::from_str(text),
            });
        }
        let cursor = self.sql.exec(statement, bound).map_err(|error| failed(&error))?;
        let rows = cursor.to_array().map_err(|error| failed(&error))?;
        let text = js_sys::JSON::stringify(&rows).map_err(|error| failed(&error))?;
        Ok(text.into())
    }

    fn script(&self, statements: &str) -> Result<(), SqlError> {
        self.sql.exec(statements, js_sys::Array::new()).map(drop).map_err(|error| failed(&error))
    }

    fn transaction(&self, work: &mut dyn FnMut() -> Result<(), RollBack>) -> Result<(), SqlError> {
        let mut work = || match work() {
            Ok(()) => Ok(JsValue::UNDEFINED),
            // The runtime rolls back because of the exception.
            Err(RollBack) => Err(JsValue::from_str("rolled back")),
        };
        self.storage.transaction_sync(&mut work).map(drop).map_err(|error| failed(&error))
    }

    fn size_bytes(&self) -> u64 {
        let size = self.sql.database_size().ok().and_then(|size| size.as_f64()).unwrap_or(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a size of at most 10 GB"
        )]
        let bytes = size as u64;
        bytes
    }
}
