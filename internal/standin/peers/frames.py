"""Does with a data frame library what tapedeck does: `import` archive files of aggTrades to one sorted Parquet
file, or compute the section `overview` of a report. Usage: frames.py LIBRARY import|overview OUT FILE…
Prints how many trades or symbols there were."""

import io
import sys
import zipfile

library, task, out, *files = sys.argv[1:]
COLUMNS = ["id", "price", "qty", "first_trade_id", "last_trade_id", "time", "is_buyer_maker", "best"]


def unzipped(path):
    with zipfile.ZipFile(path) as z:
        return z.read(z.namelist()[0])


def symbol(path):
    return path.rsplit("/", 1)[1].split("-")[0]


def pandas_import():
    import pandas as pd
    frames = []
    for path in files:
        frame = pd.read_csv(io.BytesIO(unzipped(path)), names=COLUMNS, engine="pyarrow")
        frame.insert(0, "symbol", symbol(path))
        frames.append(frame)
    trades = pd.concat(frames)
    trades["traded_at"] = pd.to_datetime(trades.pop("time"), unit="us")
    trades = trades.drop(columns="best").drop_duplicates(["symbol", "id"]).sort_values(["symbol", "id"])
    trades.to_parquet(out, engine="pyarrow", compression="zstd", index=False)
    return len(trades)


def polars_import():
    import polars as pl
    frames = [pl.read_csv(unzipped(path), has_header=False, new_columns=COLUMNS).with_columns(pl.lit(symbol(path)).alias("symbol")) for path in files]
    trades = pl.concat(frames).with_columns(pl.from_epoch("time", time_unit="us").alias("traded_at")).drop("time", "best")
    trades = trades.unique(["symbol", "id"]).sort("symbol", "id")
    trades.write_parquet(out, compression="zstd")
    return len(trades)


def duckdb_import():
    import duckdb
    import tempfile
    with tempfile.TemporaryDirectory() as scratch:
        for path in files:
            with open(f"{scratch}/{symbol(path)}.csv", "wb") as csv:
                csv.write(unzipped(path))
        names = ", ".join(f"'{c}'" for c in COLUMNS)
        duckdb.execute(f"""COPY (SELECT DISTINCT ON (symbol, id) parse_filename(filename, true) AS symbol, * EXCLUDE (filename, time, best), make_timestamp(time) AS traded_at
            FROM read_csv('{scratch}/*.csv', header = false, names = [{names}], filename = true) ORDER BY symbol, id) TO '{out}' (COMPRESSION zstd)""")
    return duckdb.execute(f"SELECT count(*) FROM '{out}'").fetchone()[0]


def pandas_overview():
    import pandas as pd
    t = pd.concat([pd.read_parquet(path) for path in files]).sort_values(["symbol", "id"])
    t["quote"] = t.price * t.qty
    t["raw"] = t.last_trade_id - t.first_trade_id + 1
    t["bought"] = t.quote.where(~t.is_buyer_maker, 0)
    o = t.groupby("symbol", observed=True).agg(
        trades=("raw", "sum"), rows=("id", "size"), open=("price", "first"), high=("price", "max"), low=("price", "min"), close=("price", "last"),
        volume=("qty", "sum"), quote_volume=("quote", "sum"), bought=("bought", "sum"), first=("traded_at", "first"), last=("traded_at", "last"))
    o["change"], o["vwap"], o["taker_buy_share"] = (o.close / o.open - 1) * 100, o.quote_volume / o.volume, o.bought / o.quote_volume
    return len(o)


def polars_overview():
    import polars as pl
    quote = pl.col("price") * pl.col("qty")
    o = pl.scan_parquet(files).sort("symbol", "id").group_by("symbol").agg(
        (pl.col("last_trade_id") - pl.col("first_trade_id") + 1).sum().alias("trades"), pl.len().alias("rows"), pl.col("price").first().alias("open"),
        pl.col("price").max().alias("high"), pl.col("price").min().alias("low"), pl.col("price").last().alias("close"), pl.col("qty").sum().alias("volume"),
        quote.sum().alias("quote_volume"), quote.filter(~pl.col("is_buyer_maker")).sum().alias("bought"), pl.col("traded_at").first().alias("first"),
        pl.col("traded_at").last().alias("last")).with_columns(
        ((pl.col("close") / pl.col("open") - 1) * 100).alias("change"), (pl.col("quote_volume") / pl.col("volume")).alias("vwap"),
        (pl.col("bought") / pl.col("quote_volume")).alias("taker_buy_share"))
    return len(o.collect())


def duckdb_overview():
    import duckdb
    return len(duckdb.execute("""SELECT symbol, sum(last_trade_id - first_trade_id + 1) AS trades, count(*) AS row_count, arg_min(price, id) AS open, max(price) AS high,
        min(price) AS low, arg_max(price, id) AS close, sum(qty) AS volume, sum(price * qty) AS quote_volume, sum(price * qty) FILTER (NOT is_buyer_maker) AS bought,
        min(traded_at) AS first, max(traded_at) AS last, (close / open - 1) * 100 AS change, quote_volume / volume AS vwap, bought / quote_volume AS taker_buy_share
        FROM read_parquet(?) GROUP BY symbol""", [files]).fetchall())


print(globals()[f"{library}_{task}"]())
