"""The agents' door: an MCP server whose two tools are what connectors require, ``search`` and ``fetch``.

``search(query)`` gives ``{"results": [{"id", "title", "url"}]}`` and ``fetch(id)`` gives ``{"id", "title", "text",
"url", "metadata"}``, each as one text item of JSON and as structured content; nothing is added to these shapes. What
more there is to ask for (``k``, ``where``, ``index``) are arguments with defaults.

Where several indexes are searched, ids begin with the name of theirs and a colon, and results come rank by rank: the
best of each, then the second best of each, since scores of two indexes do not compare.

The address of a passage is the first that there is of: its metadata's "url", where the server shows it, the file that
it was read from, ``xtrkit:INDEX/ID``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, Any, NamedTuple

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, InputRequiredResult, ToolAnnotations
from mcp_types import Tool as MCPTool
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from xtrkit.errors import InputError, XtrkitError
from xtrkit.hits import Hit
from xtrkit.passage import Passage
from xtrkit.serving.shelf import Shelf, served_url

log = logging.getLogger(__name__)

MOST_RESULTS = 100
"""How many results an agent may ask for."""

LONGEST_TEXT = 100_000
"""Characters of a document that ``fetch`` gives; of a longer one the beginning."""

TITLE = 80
"""Characters of a text that stand for its title."""


class Found(BaseModel):
    """A passage that was found."""

    id: str = Field(description="Give it to fetch.")
    title: str
    url: str = Field(description="To cite the passage by.")


class Results(BaseModel):
    """What was found, best first."""

    results: list[Found]


class Fetched(BaseModel):
    """A passage, or a whole document, with its text."""

    id: str
    title: str
    text: str
    url: str = Field(description="To cite it by.")
    metadata: dict[str, Any] = Field(
        description='What is known of it. "$document" names the document that a passage is part of: fetch that for all '
        "of it."
    )


SEARCHING = "Find the passages that answer a query best, by meaning rather than by words alone. Best first."


class Wanted(NamedTuple):
    """What an agent looks for."""

    query: str
    k: int
    where: Mapping[str, Any] | None


Asker = Context[Any, Any]
Query = Annotated[str, Field(description="What to look for, in words as a document would say it, or as a question.")]
Count = Annotated[int, Field(description="How many results.", ge=1, le=MOST_RESULTS)]
Where = Annotated[
    dict[str, Any] | None,
    Field(description='Only passages whose metadata are so, such as {"year": {"$gte": 2020}} or {"lang": "de"}.'),
]
WhichIndex = Annotated[str | None, Field(description="Only in the index of this name.")]
Identifier = Annotated[str, Field(description="An id that search gave, or the id of a document.")]


def agents_server(shelf: Shelf) -> AgentsServer:
    """An MCP server over some indexes.

    Args:
        shelf: the indexes.
    """
    several = len(shelf.names) > 1

    def search(context: Asker, query: Query, k: Count = 10, where: Where = None) -> Results:
        with told_to_agents("search"):
            return Results(results=_search(shelf, shelf.names, Wanted(query, k, where), _base(context)))

    def search_some(
        context: Asker, query: Query, k: Count = 10, where: Where = None, index: WhichIndex = None
    ) -> Results:
        with told_to_agents("search"):
            return Results(results=_search(shelf, _chosen(shelf, index), Wanted(query, k, where), _base(context)))

    def fetch(context: Asker, id: Identifier) -> Fetched:  # noqa: A002 - connectors require the name
        with told_to_agents("fetch"):
            return _fetch(shelf, id, _base(context))

    about = "Give the whole text of a result of search, or of a document by its id, with its metadata."
    server = AgentsServer(
        "xtrkit",
        version=version("xtrkit"),
        instructions=f"Searches {', '.join(shelf.names)}. Call search first, then fetch with the ids that it gave.",
        tools=[_tool("search", search_some if several else search, SEARCHING), _tool("fetch", fetch, about)],
        log_level="WARNING",
        subscriptions=False,
    )
    server.shelf = shelf
    return server


class AgentsServer(MCPServer[Any]):
    """An MCP server that tells an agent what it may ask for, and in a sentence which of its arguments can't be used.

    Attributes:
        shelf: the indexes.
    """

    shelf: Shelf

    async def list_tools(self) -> list[MCPTool]:
        """The tools, with the metadata fields that the indexes have now."""
        fields = await anyio.to_thread.run_sync(_fields, self.shelf)
        tools = await super().list_tools()
        return [
            one.model_copy(update={"description": f"{one.description}\n{fields}"}) if one.name == "search" else one
            for one in tools
        ]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool by name.

        Raises:
            ToolError: there is no such tool, its arguments can't be used, or it failed.
        """
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            told = "; ".join(
                f"{'.'.join(map(str, one['loc'])) or 'the arguments'}: {one['msg']}" for one in error.__cause__.errors()
            )
            raise ToolError(f"{name} can't be called so: {told}. Mend the arguments and call it again.") from error


def _tool(name: str, function: Callable[..., Any], description: str) -> Tool:
    """A tool that only reads, and refuses arguments that it does not have."""
    tool = Tool.from_function(
        function,
        name,
        description=description,
        annotations=ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False),
    )
    known = tool.fn_metadata.arg_model
    tool.fn_metadata.arg_model = type(known.__name__, (known,), {"model_config": ConfigDict(extra="forbid")})
    tool.parameters = tool.fn_metadata.arg_model.model_json_schema(by_alias=True)
    return tool


@contextmanager
def told_to_agents(tool: str) -> Iterator[None]:
    """Tell an agent what went wrong in a sentence that it can act upon.

    Raises:
        ToolError: whatever went wrong.
    """
    try:
        yield
    except XtrkitError as error:
        raise ToolError(str(error)) from error
    except Exception as error:
        log.exception("The tool %s failed", tool)
        raise ToolError(f"{tool} failed on the server: try it again, and tell the user if that fails, too.") from error


def _fields(shelf: Shelf) -> str:
    """Which fields conditions may name."""
    told = [(f"in {name} " if len(shelf.names) > 1 else "", list(shelf.fields(name))) for name in shelf.names]
    return "\n".join(f"Metadata fields {which}for where: {', '.join(fields) or 'none'}." for which, fields in told)


def _chosen(shelf: Shelf, index: str | None) -> Sequence[str]:
    if index is None:
        return shelf.names
    if index not in shelf.names:
        raise InputError(f"There is no index {index!r}: there are {', '.join(shelf.names)}.")
    return [index]


def _search(shelf: Shelf, names: Sequence[str], wanted: Wanted, base: str | None) -> list[Found]:
    found = [(hit.rank, place, hit) for place, name in enumerate(names) for hit in shelf.search(name, *wanted)]
    best = sorted(found, key=lambda one: one[:2])[: wanted.k]
    return [
        Found(
            id=_id_of(shelf, names[place], hit.id),
            title=_title(hit.id, hit.text, hit.metadata),
            url=_url(shelf, names[place], hit, base),
        )
        for _, place, hit in best
    ]


def _fetch(shelf: Shelf, identifier: str, base: str | None) -> Fetched:
    name, own = shelf.names[0], identifier
    if len(shelf.names) > 1:
        name, colon, own = identifier.partition(":")
        if not colon or name not in shelf.names:
            raise InputError(
                f"There is no passage {identifier!r}: ids begin with the name of an index and a colon, as search gives "
                f"them. There are {', '.join(shelf.names)}."
            )
    if not own:
        raise InputError("An id is needed: give one that search gave.")
    try:
        passages = shelf.passages(name, own)
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')}: call search, and fetch an id that it gives.") from error
    text = "\n\n".join(passage.text or "" for passage in passages)
    metadata = dict(passages[0].metadata or {})
    if passages[0].document != own:
        metadata["$document"] = _id_of(shelf, name, passages[0].document)
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}…\n\n[{len(text) - LONGEST_TEXT:,} characters follow: search for passages of it.]"
    return Fetched(
        id=identifier,
        title=_title(own, passages[0].text, metadata),
        text=text,
        url=_url(shelf, name, passages[0], base),
        metadata=metadata,
    )


def _id_of(shelf: Shelf, name: str, identifier: str) -> str:
    return f"{name}:{identifier}" if len(shelf.names) > 1 else identifier


def _title(identifier: str, text: str | None, metadata: Mapping[str, Any]) -> str:
    """The title among the metadata, or how the text begins, or the id."""
    title = metadata.get("title")
    if isinstance(title, str) and title.strip():
        return title
    lines = (text or "").strip().splitlines()
    if not lines:
        return identifier
    return lines[0] if len(lines[0]) <= TITLE else f"{lines[0][:TITLE].rsplit(None, 1)[0]}…"


def _url(shelf: Shelf, name: str, passage: Hit | Passage, base: str | None) -> str:
    """Where a passage is to be seen."""
    own = (passage.metadata or {}).get("url")
    if isinstance(own, str) and own.startswith(("http://", "https://")):
        return own
    if base is not None:
        return served_url(base, name, passage.id, several=len(shelf.names) > 1)
    return shelf.place(name, passage.id, passage.document)


def _base(context: Context[Any, Any]) -> str | None:
    """The address under which an agent reached the server; None on standard streams."""
    request = context.request_context.request
    return str(request.base_url) if isinstance(request, Request) else None
