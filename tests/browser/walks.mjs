// Walks through the interactive page, step by step as ../shared/guides/getting-started.md has them. One run, one walk:
//
//     node tests/browser/walks.mjs NAME '{"base": …, "clientId": …, "secret": …, "folder": …}'
//
// prints what the walk found as JSON; tests/browser/test_swagger.py compares that with the server's own answers.

import { Visit, check, checkEqual } from "./page.mjs";

const PATIENT = ["bulkData", "get", "/api/v1/Patient/$export"];
const GROUP = ["bulkData", "get", "/api/v1/Group/{groupId}/$export"];

const walks = {
    // "Setting up your credentials in Swagger"
    async credentials_to_token(visit, { clientId, secret }) {
        const sections = await visit.page.locator(".opblock-tag").evaluateAll(
            (tags) => tags.map((tag) => tag.dataset.tag));
        checkEqual(sections, ["auth", "metadata", "bulkData"], "sections");
        await visit.picture("page");
        const token = await visit.authorize(clientId, secret);
        await visit.page.evaluate(() => window.scrollTo(0, 0));
        await visit.picture("authorized");
        return { token };
    },

    // "2. Looking at BCDA Metadata": without having authorised
    async metadata(visit) {
        const answers = {};
        for (const route of ["/_auth", "/_version", "/api/v1/metadata"]) {
            const operation = visit.operation("metadata", "get", route);
            checkEqual(await operation.locator(".authorization__btn").count(), 0, `locks at ${route}`);
            await visit.open(operation);
            const answer = await visit.execute(operation);
            checkEqual(answer.code, 200, route);
            check(!answer.curl.includes("Authorization"), answer.curl);
            check(answer.curl.includes(`${visit.base}${route}`), answer.curl);
            await operation.scrollIntoViewIfNeeded();
            await visit.picture(route.split("/").pop());
            answers[route] = JSON.parse(answer.body);
        }
        return answers;
    },

    // "4. Making your first request for beneficiary data", a, and "5. Getting your data"
    async patient_all_types(visit, { clientId, secret }) {
        await visit.authorize(clientId, secret);
        const operation = visit.operation(...PATIENT);
        await visit.open(operation);
        checkEqual(await visit.fields(operation), ["_type", "_since"], "fields");
        await operation.scrollIntoViewIfNeeded();
        await visit.picture("patient");
        const { job, url } = await visit.startJob(operation);
        checkEqual(url, `${visit.base}/api/v1/Patient/$export`, "request URL");
        const manifest = await visit.waitForJob(job);
        return { manifest, files: await visit.download(job, manifest) };
    },

    // "4. Making your first request for beneficiary data", b; then two of the three
    async patient_one_type(visit, { clientId, secret }) {
        await visit.authorize(clientId, secret);
        const operation = visit.operation(...PATIENT);
        await visit.open(operation);
        const row = operation.locator("tr").filter({ hasText: "Resource types requested" });
        await row.locator("input").fill("Coverage");
        await operation.scrollIntoViewIfNeeded();
        await visit.picture("coverage");
        const { job, url } = await visit.startJob(operation);
        checkEqual(url, `${visit.base}/api/v1/Patient/$export?_type=Coverage`, "request URL");
        const manifest = await visit.waitForJob(job);
        const files = await visit.download(job, manifest);

        await row.getByRole("button", { name: "Add Item" }).click();
        checkEqual(await row.locator("input").count(), 2, "fields after Add Item");
        await row.locator("input").last().fill("Patient");
        await row.getByRole("button", { name: "Add Item" }).click(); // left empty: it must not be sent
        const both = await visit.startJob(operation);
        checkEqual(both.url, `${visit.base}/api/v1/Patient/$export?_type=Coverage,Patient`, "request URL of two types");
        await visit.poll(both.job);
        return { manifest, files };
    },

    // "Filtering your requests using _since"
    async group_since(visit, { clientId, secret, since }) {
        await visit.authorize(clientId, secret);
        const operation = visit.operation(...GROUP);
        await visit.open(operation);
        checkEqual((await visit.fields(operation)).sort(), ["_since", "_type", "groupId"], "fields");
        const types = operation.locator('tr[data-param-name="_type"]');
        await types.getByRole("button", { name: "Add Item" }).click();
        await types.locator("input").last().fill("ExplanationOfBenefit");
        await visit.fill(operation, "groupId", "all");
        check(/^\(Optional\)/.test(await operation.locator('tr[data-param-name="_since"] .renderedMarkdown').first().innerText()),
            "_since is not labelled (Optional)");
        await visit.fill(operation, "_since", since);
        await operation.scrollIntoViewIfNeeded();
        await visit.picture("since");
        const { job, url } = await visit.startJob(operation);
        const manifest = await visit.waitForJob(job);
        return { url, manifest, files: await visit.download(job, manifest) };
    },

    // What people do wrong, and what the page says then.
    async mistakes(visit, { clientId, secret }) {
        visit.expectedCodes = [400, 401, 404];
        const token = visit.operation("auth", "post", "/auth/token");
        await visit.enterCredentials(clientId, "not the secret");
        await visit.open(token);
        const wrongSecret = await visit.execute(token);
        checkEqual([wrongSecret.code, wrongSecret.body.includes("invalid_client")], [401, true], "wrong secret");
        await visit.picture("wrong-secret");
        await visit.logOut();

        const operation = visit.operation(...PATIENT);
        await visit.open(operation);
        checkEqual((await visit.execute(operation)).code, 401, "no token");
        await visit.picture("no-token");
        const fresh = await visit.authorize(clientId, secret, { isOpen: true });
        for (const value of [fresh, `bearer ${fresh}`]) {
            await visit.logOut();
            await visit.enterToken(value);
            checkEqual((await visit.execute(operation)).code, 401, "a token without the word Bearer");
        }
        await visit.logOut();
        await visit.enterToken(`Bearer ${fresh}`);
        await visit.fill(operation, "_since", "20 February");
        const wrongDate = await visit.execute(operation);
        checkEqual(wrongDate.code, 400, "a date of another form");
        check(wrongDate.body.includes("Date must be in FHIR Instant format"), wrongDate.body);
        await visit.picture("wrong-date");

        const job = visit.operation("bulkData", "get", "/api/v1/jobs/{jobId}");
        await visit.open(job);
        await visit.fill(job, "jobId", "4711");
        checkEqual((await visit.execute(job)).code, 404, "somebody else's job");
        return {};
    },

    // Small windows: nothing leaves them.
    async small_windows(visit, { clientId, secret }) {
        await visit.authorize(clientId, secret);
        const operation = visit.operation(...PATIENT);
        await visit.open(operation);
        const { job } = await visit.startJob(operation);
        await visit.poll(job);
        for (const width of [1024, 768]) {
            await visit.page.setViewportSize({ width, height: 900 });
            await operation.scrollIntoViewIfNeeded();
            await visit.picture(`width-${width}`);
        }
        return {};
    },

    // The policy refuses what it should, and a walk would have noticed.
    async forbidden(visit) {
        const ran = await visit.page.evaluate(async () => {
            const script = document.createElement("script");
            script.textContent = "window.ranInline = true";
            document.body.append(script);
            // Later: what the walk itself runs is let do this.
            await new Promise((resolve) => {
                setTimeout(() => {
                    try {
                        (0, eval)("window.ranEval = true");
                    } catch { /* refused */ }
                    resolve();
                }, 0);
            });
            await fetch("https://elsewhere.example/").catch(() => {});
            const image = new Image();
            const ended = new Promise((resolve) => { image.onerror = resolve; image.onload = resolve; });
            image.src = "https://elsewhere.example/pixel.png";
            await ended;
            return [window.ranInline, window.ranEval];
        });
        checkEqual(ran, [null, null], "inline code and eval");
        for (const directive of ["script-src-elem", "script-src ", "connect-src", "img-src"]) {
            check(visit.faults.some((fault) => fault.includes(`policy violated: ${directive}`)),
                `no fault for ${directive}:\n${visit.faults.join("\n")}`);
        }
        visit.faults = [];
        return {};
    },

    // The page of a server that was built without Swagger UI.
    async without_swagger_ui(visit) {
        await visit.picture("missing");
        return { text: await visit.page.locator("main").innerText() };
    },
};

const [name, options] = [process.argv[2], JSON.parse(process.argv[3])];
const visit = await Visit.begin({ heading: "Beneficiary Claims Data API", ...options, name });
let result;
try {
    result = await walks[name](visit, options);
} catch (error) {
    console.error(error);
    console.error(visit.faults.join("\n"));
    await visit.picture("failed").catch(() => {});
    process.exit(1);
}
await visit.end();
console.log(JSON.stringify(result));
