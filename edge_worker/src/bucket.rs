//! The bucket, as far as it is used. Its methods are bound here because every one of them can throw.

use wasm_bindgen::{JsCast as _, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use worker::js_sys::{Array, Date, Object, Promise, Reflect};

#[wasm_bindgen]
extern "C" {
    /// A bucket of R2.
    #[derive(Clone)]
    pub type Bucket;
    /// An object of it.
    pub type BucketObject;
    /// A page of a list.
    type Listed;

    #[wasm_bindgen(method, catch, js_name = put)]
    fn put_js(this: &Bucket, name: &str, body: &web_sys::ReadableStream) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = put)]
    fn put_with_js(this: &Bucket, name: &str, body: &str, options: &Object) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = get)]
    fn get_js(this: &Bucket, name: &str) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = delete)]
    fn delete_js(this: &Bucket, name: &str) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = list)]
    fn list_js(this: &Bucket, options: &Object) -> Result<Promise, JsValue>;

    /// Its name.
    #[wasm_bindgen(method, getter)]
    pub fn key(this: &BucketObject) -> String;
    /// Its length.
    #[wasm_bindgen(method, getter)]
    pub fn size(this: &BucketObject) -> f64;
    /// When it was written.
    #[wasm_bindgen(method, getter)]
    pub fn uploaded(this: &BucketObject) -> Date;
    /// Its content.
    #[wasm_bindgen(method, getter)]
    pub fn body(this: &BucketObject) -> Option<web_sys::ReadableStream>;

    #[wasm_bindgen(method, getter)]
    fn objects(this: &Listed) -> Array;
}

impl Bucket {
    /// Stores a stream whose length the runtime knows.
    pub fn put(&self, name: &str, body: &web_sys::ReadableStream) -> Result<JsFuture, JsValue> {
        Ok(JsFuture::from(self.put_js(name, body)?))
    }

    /// Stores an empty object if there is none of this name. Returns whether there was none.
    pub async fn create(&self, name: &str) -> Result<bool, JsValue> {
        let (options, only_if) = (Object::new(), Object::new());
        Reflect::set(&only_if, &"etagDoesNotMatch".into(), &"*".into())?;
        Reflect::set(&options, &"onlyIf".into(), &only_if)?;
        let object = JsFuture::from(self.put_with_js(name, "", &options)?).await?;
        Ok(!object.is_null())
    }

    /// An object; `None` if there is none of this name.
    pub async fn get(&self, name: &str) -> Result<Option<BucketObject>, JsValue> {
        let object = JsFuture::from(self.get_js(name)?).await?;
        Ok((!object.is_null()).then(|| object.unchecked_into()))
    }

    /// Deletes an object. One that does not exist counts as deleted.
    pub async fn delete(&self, name: &str) -> Result<(), JsValue> {
        JsFuture::from(self.delete_js(name)?).await.map(drop)
    }

    /// At most `limit` objects whose names begin with `prefix`, in the order of their names, after the name `after`.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<BucketObject>, JsValue> {
        let options = Object::new();
        Reflect::set(&options, &"prefix".into(), &prefix.into())?;
        Reflect::set(&options, &"limit".into(), &limit.into())?;
        if let Some(after) = after {
            Reflect::set(&options, &"startAfter".into(), &after.into())?;
        }
        let listed: Listed = JsFuture::from(self.list_js(&options)?).await?.unchecked_into();
        Ok(listed.objects().iter().map(JsValue::unchecked_into).collect())
    }
}
