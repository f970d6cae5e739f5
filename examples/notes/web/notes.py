#!/usr/bin/python3
"""Notes: writes lines into PostgreSQL and shows them. `notes.py --check` asks the running page."""

import html
import http.client
import os
import signal
import sys
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8080
LONGEST_NOTE = 1000

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Notes</title>
<style>
  body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 3rem auto; padding: 0 1rem }}
  form {{ display: flex; gap: .5rem }}
  input {{ flex: 1; font: inherit; padding: .4rem }}
  button {{ font: inherit; padding: .4rem 1rem }}
  time {{ color: #777; font-size: .9rem }}
</style>
<h1>Notes</h1>
<form method="post" action="/notes">
  <input name="text" placeholder="Write something" maxlength="{longest}" required autofocus>
  <button>Keep</button>
</form>
<ul>{notes}</ul>
<p><small>Kept in PostgreSQL, on a disk that the machine's owner cannot read.</small></p>
</html>
"""


def connect():
    import psycopg2

    with open("/run/secrets/db_password", encoding="utf-8") as file:
        password = file.read().rstrip("\n")
    connection = psycopg2.connect(os.environ["DATABASE"], password=password)
    connection.autocommit = True
    return connection


def prepare():
    for _ in range(60):
        try:
            with connect() as connection, connection.cursor() as cursor:
                cursor.execute(
                    "CREATE TABLE IF NOT EXISTS notes ("
                    " number bigserial PRIMARY KEY, text text NOT NULL,"
                    " at timestamptz NOT NULL DEFAULT now())"
                )
            return
        except Exception as error:  # the database may still be starting
            print(f"waiting for the database: {type(error).__name__}", flush=True)
            time.sleep(1)
    sys.exit("the database did not answer for a minute")


class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self):
        if self.path == "/healthz":
            return self.answer(200, "ok\n", "text/plain")
        if self.path != "/":
            return self.answer(404, "no such page\n", "text/plain")
        with connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT text, to_char(at, 'YYYY-MM-DD HH24:MI:SS') FROM notes ORDER BY number DESC LIMIT 100")
            rows = cursor.fetchall()
        notes = "".join(f"<li>{html.escape(text)} <time>{at}</time></li>" for text, at in rows)
        self.answer(200, PAGE.format(notes=notes, longest=LONGEST_NOTE), "text/html; charset=utf-8")

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if self.path != "/notes" or length > 4 * LONGEST_NOTE:
            return self.answer(404, "no such page\n", "text/plain")
        form = urllib.parse.parse_qs(self.rfile.read(length).decode("utf-8", "replace"))
        text = form.get("text", [""])[0].strip()[:LONGEST_NOTE]
        if text:
            with connect() as connection, connection.cursor() as cursor:
                cursor.execute("INSERT INTO notes (text) VALUES (%s)", (text,))
        self.send_response(303)
        self.send_header("Location", "/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, status, text, kind):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *arguments):
        print(form % arguments, flush=True)


def check():
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
    connection.request("GET", "/healthz")
    sys.exit(0 if connection.getresponse().status == 200 else 1)


if __name__ == "__main__":
    # As the first process of its container it would ignore the signal that stops it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if "--check" in sys.argv:
        check()
    prepare()
    print(f"listening on {PORT}", flush=True)
    ThreadingHTTPServer(("", PORT), Page).serve_forever()
