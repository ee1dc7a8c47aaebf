// What the walks through the interactive page share: a Chromium that may reach one server alone, and the words and
// buttons of the page, found as a person finds them.

import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import path from "node:path";

const require = createRequire(new URL("../../build/web/package.json", import.meta.url));
const { chromium } = require("playwright-core");

const CHROMIUM = process.env.CHROMIUM || "/usr/bin/chromium";
const PATIENCE_MS = 30000;

function check(condition, text) {
    if (!condition) {
        throw new Error(text);
    }
}

function checkEqual(found, expected, what) {
    check(JSON.stringify(found) === JSON.stringify(expected),
        `${what}: ${JSON.stringify(found)}, not ${JSON.stringify(expected)}`);
}

export { check, checkEqual };

// One visit of the page. What went wrong on the way is thrown by end().
export class Visit {
    constructor(options) {
        Object.assign(this, options); // base, folder (of pictures), downloads, name, heading
        this.faults = [];
        this.pictures = 0;
    }

    static async begin(options) {
        const visit = new Visit(options);
        visit.browser = await chromium.launch({
            executablePath: CHROMIUM,
            args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        });
        const context = await visit.browser.newContext({
            ignoreHTTPSErrors: true, acceptDownloads: true, viewport: { width: 1280, height: 900 },
        });
        await context.addInitScript(() => {
            document.addEventListener("securitypolicyviolation", (event) => {
                console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
            });
        });
        // The browser tells of each answer of 400 or more as an error; a walk says which it expects.
        visit.expectedCodes = [];
        context.on("request", (request) => {
            const url = new URL(request.url());
            if (!["data:", "blob:"].includes(url.protocol) && url.origin !== visit.base) {
                visit.faults.push(`a request left the server: ${request.url()}`);
            }
        });
        context.on("console", (message) => {
            if (["error", "warning"].includes(message.type()) && !visit.expects(message.text())) {
                visit.faults.push(`console ${message.type()}: ${message.text()} ${message.location().url}`);
            }
        });
        context.on("weberror", (error) => visit.faults.push(`uncaught: ${error.error().stack}`));
        visit.page = await context.newPage();
        visit.page.setDefaultTimeout(PATIENCE_MS);
        visit.page.on("dialog", (dialog) => visit.faults.push(`a window opened: ${dialog.message()}`));
        await visit.page.goto(`${visit.base}/api/v1/swagger`);
        await visit.page.getByRole("heading", { name: visit.heading }).waitFor();
        return visit;
    }

    expects(text) {
        return this.expectedCodes.some((code) => text.includes(`the server responded with a status of ${code}`));
    }

    async end() {
        await this.browser.close();
        check(this.faults.length === 0, this.faults.join("\n"));
    }

    async picture(name, target = this.page) {
        this.pictures += 1;
        const number = String(this.pictures).padStart(2, "0");
        await this.mustNotOverflow(name);
        await target.screenshot({ path: path.join(this.folder, `${this.name}-${number}-${name}.png`) });
    }

    async mustNotOverflow(name) {
        const [needed, there] = await this.page.evaluate(() =>
            [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
        check(needed <= there, `${name}: the page is ${needed} pixels wide in a window of ${there}`);
    }

    // ---- the steps of the guide, in its words ----

    section(name) {
        return this.page.locator(".opblock-tag-section").filter({ has: this.page.locator(`#operations-tag-${name}`) });
    }

    operation(section, method, route) {
        return this.section(section).locator(`.opblock-${method}`).filter({
            has: this.page.locator(`.opblock-summary-path[data-path="${route}"]`),
        });
    }

    get dialog() {
        return this.page.locator(".dialog-ux .modal-ux");
    }

    // The box below a label of the dialog, as it stands there.
    boxLabelled(label) {
        return this.dialog.locator("div", { has: this.page.locator(`label:text-is("${label}")`) }).last().locator("input");
    }

    async enterCredentials(clientId, secret) {
        await this.operation("auth", "post", "/auth/token").locator(".authorization__btn").click();
        await this.boxLabelled("Username:").fill(clientId);
        await this.boxLabelled("Password:").fill(secret);
        await this.picture("credentials");
        await this.authorizeAndClose("Username:");
    }

    async enterToken(value) {
        await this.page.evaluate(() => window.scrollTo(0, 0));
        await this.page.locator(".auth-wrapper .btn.authorize").click();
        await this.boxLabelled("Value:").fill(value);
        await this.picture("token-value");
        await this.authorizeAndClose("Value:");
    }

    async authorizeAndClose(label) {
        const form = this.dialog.locator("form").filter({ has: this.page.getByText(label) });
        await form.getByText("Authorize", { exact: true }).click();
        await form.getByText("Close", { exact: true }).click();
        await this.dialog.waitFor({ state: "detached" });
    }

    async open(operation) {
        await operation.locator(".opblock-summary-control").click();
        await operation.getByRole("button", { name: "Try it out" }).click();
    }

    // Clicks Execute and waits for the answer: code, headers as one text, and the body as it is shown.
    async execute(operation) {
        const answered = this.page.waitForResponse((response) => !response.url().includes("/swagger/"));
        await operation.getByRole("button", { name: "Execute" }).click();
        await answered;
        const shown = operation.locator(".live-responses-table tr.response");
        await operation.locator(".loading-container").waitFor({ state: "detached" });
        await shown.waitFor();
        const headers = {};
        for (const line of await shown.locator(".headerline").allInnerTexts()) {
            const [, field, value] = /^\s*([^:]+):\s*(.*?)\s*$/s.exec(line);
            headers[field] = value;
        }
        const body = shown.locator(".highlight-code .microlight");
        return {
            code: Number((await shown.locator(".response-col_status").innerText()).trim()),
            headers,
            body: await body.count() > 0 ? await body.innerText() : "",
            curl: await operation.locator(".curl-command .curl").innerText(),
        };
    }

    // The whole of "Walk-through: from credentials to token".
    async authorize(clientId, secret, { isOpen = false } = {}) {
        await this.enterCredentials(clientId, secret);
        const operation = this.operation("auth", "post", "/auth/token");
        if (!isOpen) {
            await this.open(operation);
        }
        const answer = await this.execute(operation);
        check(answer.code === 200, `POST /auth/token: ${answer.code} ${answer.body}`);
        const token = JSON.parse(answer.body).access_token;
        check(/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token), `not a token: ${answer.body}`);
        await operation.scrollIntoViewIfNeeded();
        await this.picture("token-response");
        await this.enterToken(`Bearer ${token}`);
        return token;
    }

    // Takes back all that was entered.
    async logOut() {
        await this.page.evaluate(() => window.scrollTo(0, 0));
        await this.page.locator(".auth-wrapper .btn.authorize").click();
        const buttons = this.dialog.getByText("Logout", { exact: true });
        while (await buttons.count() > 0) {
            await buttons.first().click();
        }
        await this.dialog.getByText("Close", { exact: true }).first().click();
        await this.dialog.waitFor({ state: "detached" });
    }

    // The names of the fields that can be filled in.
    async fields(operation) {
        return operation.locator("tr[data-param-name]").evaluateAll(
            (rows) => rows.filter((row) => row.querySelector("input:enabled")).map((row) => row.dataset.paramName));
    }

    async fill(operation, parameter, value) {
        await operation.locator(`tr[data-param-name="${parameter}"] input`).fill(String(value));
    }

    // Starts a job. Gives the job number at the end of content-location, and the request's URL.
    async startJob(operation) {
        const answer = await this.execute(operation);
        check(answer.code === 202, `export: ${answer.code} ${answer.body}`);
        for (const text of ["-H 'Prefer: respond-async'", "-H 'accept: application/fhir+json'",
            "-H 'Authorization: Bearer "]) {
            check(answer.curl.includes(text), `no ${text} in ${answer.curl}`);
        }
        const [, job] = /\/api\/v1\/jobs\/(\d+)$/.exec(answer.headers["content-location"]);
        await operation.locator(".live-responses-table").scrollIntoViewIfNeeded();
        await this.picture("job-started");
        return { job, url: await operation.locator(".request-url .microlight").innerText() };
    }

    // "Checking the status of your job": asks until it is complete. Gives the manifest.
    async waitForJob(job) {
        const operation = this.operation("bulkData", "get", "/api/v1/jobs/{jobId}");
        await this.open(operation);
        return this.poll(job);
    }

    async poll(job) {
        const operation = this.operation("bulkData", "get", "/api/v1/jobs/{jobId}");
        if (await operation.getByRole("button", { name: "Execute" }).count() === 0) {
            await this.open(operation);
        }
        await this.fill(operation, "jobId", job);
        for (;;) {
            const answer = await this.execute(operation);
            if (answer.code === 200) {
                check(answer.headers["x-progress"] === "Completed", `x-progress: ${answer.headers["x-progress"]}`);
                await operation.locator(".live-responses-table").scrollIntoViewIfNeeded();
                await this.picture("job-complete");
                return JSON.parse(answer.body);
            }
            check(answer.code === 202, `job ${job}: ${answer.code} ${answer.body}`);
            check(/^(Pending|In Progress \(\d+%\))$/.test(answer.headers["x-progress"]), answer.headers["x-progress"]);
        }
    }

    // "Downloading your bulk data file": all of them. Gives name, saved path and what is shown of each.
    async download(job, manifest) {
        const operation = this.operation("bulkData", "get", "/data/{jobId}/{filename}");
        await this.open(operation);
        await this.fill(operation, "jobId", job);
        const files = [];
        for (const { type, url } of manifest.output) {
            const name = url.split("/").pop();
            await this.fill(operation, "filename", name);
            const answer = await this.execute(operation);
            check(answer.code === 200, `${url}: ${answer.code} ${answer.body}`);
            check(answer.headers["content-type"] === "application/fhir+ndjson", answer.headers["content-type"]);
            const [saved] = await Promise.all([
                this.page.waitForEvent("download"),
                operation.getByRole("button", { name: "Download", exact: true }).click(),
            ]);
            await operation.locator(".live-responses-table").scrollIntoViewIfNeeded();
            await this.picture(`file-${type}`);
            const target = path.join(this.downloads, saved.suggestedFilename());
            await saved.saveAs(target);
            const bytes = await readFile(target);
            check(answer.body !== "" && bytes.toString().startsWith(answer.body), `${name} is not what the page shows`);
            files.push({ type, url, name: saved.suggestedFilename(), path: target });
        }
        return files;
    }
}
