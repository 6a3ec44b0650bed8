"""The page in the browser, below /ui/ on the admin port.

Rules of the room. A page is a row (`page_rows`): path, title, role, template, and the function that
makes the template's values. A form is a row as well (`form_rows`): it names an operation of the
API and turns the fields of the form into a request for it. Every value that is behind a role comes
from the handler of an operation, after the check of that operation's role; so page and API show the
same, refuse the same, and write the same callers into the audit log. Every page reads and acts
without JavaScript; the script adds live parts alone. No text of a template is marked as safe.

Theory. `lazy` is all that the admin API loads at its start; the first request below /ui/ loads the
rest. `app` routes, `session_gate` admits: Host, session, role, and for unsafe requests Origin and
CSRF token. `sessions` keeps the sessions in memory, with the digest of the token that each stands
for, so a session ends with its token. `call` is a request as a page's functions see it. `rendering`
loads templates and draws a page, or one block of it for the script to exchange.

The room refuses to know how an operation works.
"""
