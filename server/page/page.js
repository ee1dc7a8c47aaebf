// The interactive page: Swagger UI over this server's own description of its API. docs/web-page.md says why it
// changes what it changes.
"use strict";

(() => {
    const SHOWN_BYTES_MAX = 256 * 1024; // of a file: a browser cannot show the rest, and nobody could read it

    // The file that was fetched last, whole: what the Download button saves.
    let fetched = { url: "", file: null };

    function isFile(contentType) {
        return /^application\/fhir\+ndjson\b/i.test(contentType || "");
    }

    // The beginning of a file as text, up to the end of a line where there is one.
    async function beginningOf(file) {
        if (file.size <= SHOWN_BYTES_MAX) {
            return file.text();
        }
        const text = await file.slice(0, SHOWN_BYTES_MAX).text();
        const end = text.lastIndexOf("\n");
        return end < 0 ? text.replace(/\uFFFD+$/, "") : text.slice(0, end + 1);
    }

    // A fetch that keeps a file's bytes as they came, and gives Swagger UI only the beginning of it.
    async function fetchFile(url, request) {
        const response = await fetch(url, request);
        if (!response.ok || !isFile(response.headers.get("content-type"))) {
            return response;
        }
        fetched = { url, file: await response.blob() };
        return new Response(await beginningOf(fetched.file), {
            status: response.status,
            statusText: response.statusText,
            headers: response.headers,
        });
    }

    function prepareRequest(request) {
        const path = new URL(request.url, location.href).pathname;
        // Without this a wrong secret brings up the browser's own password window.
        request.credentials = "omit";
        if (/\/(\$|%24)export$/i.test(path)) {
            request.headers.accept = "application/fhir+json";
            request.headers.Prefer = "respond-async";
        } else if (request.headers.accept === "*/*") { // the first answer described has no body
            request.headers.accept = "application/json";
        }
        if (path.startsWith("/data/")) {
            request.userFetch = fetchFile;
        }
        return request;
    }

    // Swagger UI splits a date at its comma, and would show it without the space behind.
    function mendResponse(response) {
        for (const [name, value] of Object.entries(response.headers)) {
            if (Array.isArray(value)) {
                response.headers[name] = value.join(", ");
            }
        }
        return response;
    }

    function save({ url, file }) {
        const link = document.createElement("a");
        link.href = URL.createObjectURL(file);
        link.download = decodeURIComponent(new URL(url).pathname.split("/").pop());
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    }

    // Swagger UI would put a remark before the lines, since they are not one JSON document, and save it with them.
    function FileBody({ React, text, fetched }) {
        const element = React.createElement;
        const isWhole = fetched.file.size <= SHOWN_BYTES_MAX;
        const size = fetched.file.size.toLocaleString("en-US");
        return element("div", { className: "file-lines" },
            element("h5", null, "Response body"),
            element("div", { className: "highlight-code" },
                element("button", { className: "download-contents", onClick: () => save(fetched) }, "Download"),
                element("pre", { className: "microlight" }, text)),
            element("p", { className: "remark" }, isWhole ? `The whole file: ${size} bytes.`
                : `The beginning of a file of ${size} bytes. Download saves all of it.`));
    }

    // A list of words, with a field to type into from the beginning. What is left empty is not sent.
    function WordsField({ system, value, onChange, disabled, description }) {
        const { React, Im } = system;
        const element = React.createElement;
        const given = Im.List.isList(value) ? value.toJS() : [];
        const [words, setWords] = React.useState(given.length > 0 ? given : [""]);
        const typed = (list) => list.map((word) => word.trim()).filter((word) => word !== "");
        const change = (list) => {
            setWords(list.length > 0 ? list : [""]);
            onChange(Im.List(typed(list)));
        };
        const add = (event) => {
            if (words[words.length - 1].trim() !== "") {
                setWords([...words, ""]);
            } else { // there is an empty field to type into
                [...event.currentTarget.parentElement.querySelectorAll("input")].pop().focus();
            }
        };
        return element("div", { className: "json-schema-array types-field" },
            words.map((word, at) => element("div", { key: at, className: "json-schema-form-item" },
                element("input", {
                    type: "text", value: word, disabled, placeholder: description, "aria-label": description,
                    onChange: (event) => change(words.map((old, i) => (i === at ? event.target.value : old))),
                }),
                !disabled && words.length > 1 && element("button", {
                    type: "button", className: "btn btn-sm json-schema-form-item-remove", title: "Remove this item",
                    onClick: () => change(words.filter((_, i) => i !== at)),
                }, " - "))),
            !disabled && element("button", {
                type: "button", className: "btn btn-sm json-schema-form-item-add", onClick: add,
            }, "Add Item"));
    }

    const plugin = (system) => ({
        wrapComponents: {
            responseBody: (Original) => (props) => {
                const element = system.React.createElement;
                return isFile(props.contentType) && props.url === fetched.url
                    ? element(FileBody, { React: system.React, text: props.content, fetched })
                    : element(Original, props);
            },
            JsonSchema_array: () => (props) => system.React.createElement(WordsField, { ...props, system }),
        },
    });

    function show(spec) {
        // Where the page is, not where the server's public URL says: nothing else may be asked from here.
        spec.servers = [{ url: location.origin }];
        document.title = spec.info.title;
        window.SwaggerUIBundle({
            spec,
            dom_id: "#page",
            plugins: [plugin],
            docExpansion: "list",
            defaultModelsExpandDepth: -1,
            validatorUrl: null,
            requestInterceptor: prepareRequest,
            responseInterceptor: mendResponse,
        });
    }

    fetch("openapi.json", { credentials: "omit" })
        .then((response) => (response.ok ? response.json() : Promise.reject(new Error(`code ${response.status}`))))
        .then(show)
        .catch((error) => {
            document.querySelector("#page").textContent =
                `The description of the API could not be loaded (${error.message}). Reload the page to try again.`;
        });
})();
