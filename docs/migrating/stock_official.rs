//! The stock of a warehouse: `stock URI DATABASE`.

#![allow(clippy::print_stdout)]

use std::time::Duration;

use mongodb::IndexModel;
use mongodb::bson::doc;
use mongodb::error::{Error, ErrorKind, Result, WriteFailure};
use mongodb::options::{
    Collation, CollationStrength, CollectionOptions, Hint, IndexOptions, ReturnDocument,
    UpdateOneModel, WriteConcern,
};
use mongodb::results::SummaryBulkWriteResult;
use mongodb::sync::{Client, ClientSession, Collection};
use serde::{Deserialize, Serialize};

/// An article, and how many of it there are.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Article {
    #[serde(rename = "_id")]
    sku: String,
    name: String,
    kind: String,
    count: i32,
    price: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    shelf: Option<String>,
}

impl Article {
    fn new(sku: &str, name: &str, kind: &str, count: i32, price: f64) -> Self {
        Self {
            sku: sku.to_owned(),
            name: name.to_owned(),
            kind: kind.to_owned(),
            count,
            price,
            shelf: None,
        }
    }
}

/// The articles of one kind.
#[derive(Debug, Deserialize)]
struct Total {
    #[serde(rename = "_id")]
    kind: String,
    articles: i32,
    value: f64,
}

/// The parts of an article that a list shows.
#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    price: f64,
}

struct Stock {
    client: Client,
    articles: Collection<Article>,
}

impl Stock {
    fn open(client: &Client, database: &str) -> Result<Self> {
        let database = client.database(database);
        database.run_command(doc! { "ping": 1 }).run()?;
        let options = CollectionOptions::builder()
            .write_concern(WriteConcern::majority())
            .build();
        let articles = database.collection_with_options("articles", options);
        let by_kind = IndexModel::builder()
            .keys(doc! { "kind": 1, "price": 1 })
            .build();
        let by_name = IndexModel::builder()
            .keys(doc! { "name": 1 })
            .options(IndexOptions::builder().unique(true).build())
            .build();
        articles.create_indexes([by_kind, by_name]).run()?;
        Ok(Self {
            client: client.clone(),
            articles,
        })
    }

    /// Adds an article. Returns false if there is one with this number or this name.
    fn add(&self, article: &Article) -> Result<bool> {
        match self.articles.insert_one(article).run() {
            Ok(_) => Ok(true),
            Err(error) if is_duplicate(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Adds articles. Returns how many were added, and the indexes of those that were not.
    fn add_all(&self, articles: &[Article]) -> Result<(usize, Vec<usize>)> {
        let outcome = self.articles.insert_many(articles).ordered(false).run();
        match outcome {
            Ok(result) => Ok((result.inserted_ids.len(), Vec::new())),
            Err(error) => {
                let ErrorKind::InsertMany(ref failure) = *error.kind else {
                    return Err(error);
                };
                let errors = failure.write_errors.iter().flatten();
                let rejected: Vec<usize> = errors.map(|error| error.index).collect();
                Ok((articles.len() - rejected.len(), rejected))
            }
        }
    }

    /// Lists the cheapest articles of a kind.
    fn cheapest(&self, kind: &str, limit: i64) -> Result<Vec<Row>> {
        let rows = self.articles.clone_with_type::<Row>();
        let cursor = rows
            .find(doc! { "kind": kind, "count": { "$gt": 0 } })
            .projection(doc! { "name": 1, "price": 1 })
            .sort(doc! { "price": 1, "_id": 1 })
            .limit(limit)
            .batch_size(2)
            .hint(Hint::Keys(doc! { "kind": 1, "price": 1 }))
            .max_time(Duration::from_secs(5))
            .run()?;
        cursor.collect()
    }

    /// Finds an article by its name, whatever the case of the letters.
    fn named(&self, name: &str) -> Result<Option<Article>> {
        let any_case = Collation::builder()
            .locale("en")
            .strength(CollationStrength::Secondary)
            .build();
        self.articles
            .find_one(doc! { "name": name })
            .collation(any_case)
            .run()
    }

    /// Takes articles out of the stock. Returns how many are left, or `None` if there are not enough.
    fn take(&self, sku: &str, count: i32) -> Result<Option<i32>> {
        let article = self
            .articles
            .find_one_and_update(
                doc! { "_id": sku, "count": { "$gte": count } },
                doc! { "$inc": { "count": -count } },
            )
            .return_document(ReturnDocument::After)
            .run()?;
        Ok(article.map(|article| article.count))
    }

    /// Puts the articles of a kind on shelves, which have the name of the kind and of the article.
    fn put_on_shelves(&self, kind: &str) -> Result<u64> {
        let shelf = doc! { "$concat": ["$kind", "-", "$name"] };
        let result = self
            .articles
            .update_many(
                doc! { "kind": kind, "shelf": { "$exists": false } },
                vec![doc! { "$set": { "shelf": shelf } }],
            )
            .run()?;
        Ok(result.modified_count)
    }

    /// Books a delivery: how many of each article have arrived.
    fn deliver(&self, delivery: &[(&str, i32)]) -> Result<SummaryBulkWriteResult> {
        let namespace = self.articles.namespace();
        let mut models = Vec::new();
        for (sku, count) in delivery {
            let filter = doc! { "_id": *sku };
            let update = doc! { "$inc": { "count": *count } };
            let model = UpdateOneModel::builder().filter(filter).update(update);
            models.push(model.namespace(namespace.clone()).build());
        }
        self.client.bulk_write(models).ordered(false).run()
    }

    /// Returns the number of articles and the value of each kind.
    fn totals(&self) -> Result<Vec<Total>> {
        let value = doc! { "$multiply": ["$count", "$price"] };
        let stages = [
            doc! { "$group": {
                "_id": "$kind",
                "articles": { "$sum": 1 },
                "value": { "$sum": value },
            } },
            doc! { "$sort": { "_id": 1 } },
        ];
        let totals = self
            .articles
            .aggregate(stages)
            .with_type::<Total>()
            .allow_disk_use(true)
            .run()?;
        totals.collect()
    }

    /// Removes the articles that are used up, and returns the names of those that are left, as the session sees them.
    fn clean_up(&self, session: &mut ClientSession) -> Result<Vec<String>> {
        self.articles
            .delete_many(doc! { "count": 0 })
            .session(&mut *session)
            .run()?;
        let mut left = self
            .articles
            .find(doc! {})
            .sort(doc! { "name": 1 })
            .session(&mut *session)
            .run()?;
        let articles = left.iter(session);
        articles.map(|article| Ok(article?.name)).collect()
    }
}

/// Returns true if an error says that a value of a unique index exists already.
fn is_duplicate(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(it)) if it.code == 11000)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let uri = arguments.next().unwrap_or("mongodb://localhost".to_owned());
    let database = arguments.next().unwrap_or("warehouse".to_owned());
    let client = Client::with_uri_str(&uri)?;
    let stock = Stock::open(&client, &database)?;

    let bolt = Article::new("B4", "Bolt M4", "bolt", 100, 0.25);
    println!("added: {}", stock.add(&bolt)?);
    println!("added again: {}", stock.add(&bolt)?);
    let more = [
        Article::new("B5", "Bolt M5", "bolt", 40, 0.5),
        Article::new("B6", "Bolt M4", "bolt", 1, 0.5),
        Article::new("B8", "Bolt M8", "bolt", 10, 1.5),
        Article::new("N4", "Nut M4", "nut", 20, 0.125),
    ];
    let (added, rejected) = stock.add_all(&more)?;
    println!("added {added}, rejected {rejected:?}");
    for row in stock.cheapest("bolt", 2)? {
        println!("{}: {:.3}", row.name, row.price);
    }
    let nut = stock.named("nut m4")?;
    println!("found: {}", nut.map_or(String::new(), |nut| nut.sku));
    for count in [15, 15, 5] {
        match stock.take("N4", count)? {
            Some(left) => println!("took {count}, {left} left"),
            None => println!("there are no {count}"),
        }
    }
    println!("on shelves: {}", stock.put_on_shelves("bolt")?);
    let booked = stock.deliver(&[("B4", 50), ("B5", 10), ("X1", 1)])?;
    println!("booked: {}", booked.matched_count);
    for total in stock.totals()? {
        println!(
            "{}: {} articles, {:.2}",
            total.kind, total.articles, total.value
        );
    }
    let mut session = client.start_session().causal_consistency(true).run()?;
    println!("left: {}", stock.clean_up(&mut session)?.join(", "));
    let kinds = stock.articles.distinct("kind", doc! {}).run()?;
    println!("kinds: {}", kinds.len());
    client.database(&database).drop().run()
}
