// Exports an ACO's claims into a folder; Go's standard library only.
//
//	go run export.go -host=$HOSTNAME -clientID=$CLIENT_ID -clientSecret=$CLIENT_SECRET -endpoint=Patient \
//	    -resourceType=ExplanationOfBenefit
//
// Other users of the machine see a process's flags: leave out -clientSecret and set CLIENT_SECRET to keep it from them.
// A download that breaks goes on where it stopped; with -job, a second call fetches the files that are not there yet.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	triesMax    = 20 // of one request, or one file
	waitMax     = 120 * time.Second
	answerMax   = 60 * time.Second // until the head of an answer is there
	silenceMax  = 60 * time.Second // between two pieces of a body
	documentMax = 64 << 20         // bytes of a JSON answer
)

type client struct {
	http       *http.Client
	host       string
	id, secret string
	token      string
}

type file struct {
	Type     string `json:"type"`
	URL      string `json:"url"`
	Count    *int64 `json:"count"`
	FileSize *int64 `json:"fileSize"`
}

type manifest struct {
	Output  []file `json:"output"`
	Deleted []file `json:"deleted"` // Bundles of DELETE requests: what is gone since -since
	Error   []file `json:"error"`
}

// patientConn gives up when no byte has come for a while, however long the whole takes.
type patientConn struct{ net.Conn }

func (c patientConn) Read(b []byte) (int, error) {
	c.SetReadDeadline(time.Now().Add(silenceMax))
	return c.Conn.Read(b)
}

func newClient(host, id, secret, cacert string) (*client, error) {
	if !strings.Contains(host, "://") {
		host = "https://" + host
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if cacert != "" {
		pem, err := os.ReadFile(cacert)
		if err != nil {
			return nil, err
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", cacert)
		}
	}
	dialer := &net.Dialer{Timeout: 30 * time.Second}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		TLSClientConfig:       settings,
		ResponseHeaderTimeout: answerMax,
		DisableCompression:    true, // the bytes of gzip are wanted as they come
		Dial: func(network, address string) (net.Conn, error) {
			connection, err := dialer.Dial(network, address)
			if err != nil {
				return nil, err
			}
			return patientConn{connection}, nil
		},
	}
	return &client{http: &http.Client{Transport: transport}, host: strings.TrimRight(host, "/"), id: id, secret: secret}, nil
}

func pause(answer *http.Response) {
	wait := time.Second
	if answer != nil {
		if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds >= 0 {
			wait = time.Duration(seconds) * time.Second
		}
	}
	if wait > waitMax {
		wait = waitMax
	}
	time.Sleep(wait)
}

func body(answer *http.Response) ([]byte, error) {
	defer answer.Body.Close()
	return io.ReadAll(io.LimitReader(answer.Body, documentMax))
}

// problem says why a request was refused.
func problem(answer *http.Response) error {
	var outcome struct {
		Issue []struct{ Diagnostics string }
	}
	text, _ := body(answer)
	if json.Unmarshal(text, &outcome) == nil && len(outcome.Issue) > 0 {
		return fmt.Errorf("%s: %s", answer.Status, outcome.Issue[0].Diagnostics)
	}
	return errors.New(answer.Status)
}

func busy(status int) bool {
	return status == 429 || status == 502 || status == 503
}

func (c *client) renew() error {
	var last error
	for try := 0; try < triesMax; try++ {
		request, err := http.NewRequest("POST", c.host+"/auth/token", nil)
		if err != nil {
			return err
		}
		request.SetBasicAuth(c.id, c.secret)
		answer, err := c.http.Do(request)
		if err != nil {
			last = err
			pause(nil)
			continue
		}
		text, err := body(answer)
		if busy(answer.StatusCode) || err != nil {
			last = errors.New(answer.Status)
			pause(answer)
			continue
		}
		var found struct {
			Token string `json:"access_token"`
		}
		if answer.StatusCode != 200 || json.Unmarshal(text, &found) != nil {
			return fmt.Errorf("no token: %s", answer.Status)
		}
		c.token = found.Token
		return nil
	}
	return fmt.Errorf("no token after %d tries: %w", triesMax, last)
}

// ask sends a request with a token, which is renewed when it is refused, and waits when it is told to.
func (c *client) ask(url string, fields map[string]string) (*http.Response, error) {
	var last error
	for try := 0; try < triesMax; try++ {
		if c.token == "" {
			if err := c.renew(); err != nil {
				return nil, err
			}
		}
		request, err := http.NewRequest("GET", url, nil)
		if err != nil {
			return nil, err
		}
		for name, value := range fields {
			request.Header.Set(name, value)
		}
		request.Header.Set("Authorization", "Bearer "+c.token)
		answer, err := c.http.Do(request)
		if err != nil {
			last = err
			pause(nil)
			continue
		}
		switch {
		case answer.StatusCode == 401:
			c.token = ""
		case busy(answer.StatusCode):
			pause(answer)
		default:
			return answer, nil
		}
		last = errors.New(answer.Status)
		answer.Body.Close()
	}
	return nil, fmt.Errorf("no answer after %d tries: %w", triesMax, last)
}

func (c *client) kickOff(endpoint, types, since string) (string, error) {
	query := url.Values{}
	if types != "" {
		query.Set("_type", types)
	}
	if since != "" {
		query.Set("_since", since)
	}
	target := c.host + "/api/v1/" + endpoint + "/$export"
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	answer, err := c.ask(target, map[string]string{"Accept": "application/fhir+json", "Prefer": "respond-async"})
	if err != nil {
		return "", err
	}
	if answer.StatusCode != 202 {
		return "", problem(answer)
	}
	answer.Body.Close()
	return answer.Header.Get("Content-Location"), nil
}

// wait gives the manifest when the job is complete, however long that takes.
func (c *client) wait(job string) ([]byte, error) {
	for {
		answer, err := c.ask(job, nil)
		if err != nil {
			return nil, err
		}
		switch answer.StatusCode {
		case 200:
			text, err := body(answer)
			if err == nil {
				return text, nil
			}
		case 202:
			fmt.Println(answer.Header.Get("X-Progress"))
			answer.Body.Close()
		default:
			return nil, problem(answer)
		}
		pause(answer)
	}
}

// fetch adds what is missing of the gzip file, and says whether it is whole now.
func (c *client) fetch(url, packed string) (bool, error) {
	fields := map[string]string{"Accept-Encoding": "gzip"}
	if info, err := os.Stat(packed); err == nil && info.Size() > 0 {
		fields["Range"] = fmt.Sprintf("bytes=%d-", info.Size())
	}
	answer, err := c.ask(url, fields)
	if err != nil {
		return false, err
	}
	defer answer.Body.Close()
	mode := os.O_CREATE | os.O_WRONLY
	switch answer.StatusCode {
	case 200:
		mode |= os.O_TRUNC
	case 206:
		mode |= os.O_APPEND
	case 416: // all of it was there already
		return true, nil
	default:
		return false, problem(answer)
	}
	target, err := os.OpenFile(packed, mode, 0o600)
	if err != nil {
		return false, err
	}
	_, broken := io.Copy(target, answer.Body)
	return broken == nil, target.Close()
}

// download asks for gzip, goes on after a break, and checks what arrived.
func (c *client) download(item file, name string) error {
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	packed, part := name+".gz", name+".part"
	whole := false
	for try := 0; !whole; try++ {
		if try > 0 {
			pause(nil)
		}
		if try == triesMax {
			return fmt.Errorf("not whole after %d tries", triesMax)
		}
		var err error
		if whole, err = c.fetch(item.URL, packed); err != nil {
			return err
		}
	}
	size, lines, err := inflate(packed, part)
	if err != nil {
		return err
	}
	if item.Count != nil && *item.Count != lines || item.FileSize != nil && *item.FileSize != size {
		return fmt.Errorf("%d resources in %d bytes are not what the manifest says", lines, size)
	}
	if err := os.Rename(part, name); err != nil {
		return err
	}
	fmt.Println(name)
	return os.Remove(packed)
}

func inflate(packed, part string) (size, lines int64, err error) {
	source, err := os.Open(packed)
	if err != nil {
		return 0, 0, err
	}
	defer source.Close()
	reader, err := gzip.NewReader(source)
	if err != nil {
		return 0, 0, err
	}
	target, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, 0, err
	}
	piece := make([]byte, 64<<10)
	for err == nil {
		var n int
		n, err = reader.Read(piece)
		size += int64(n)
		lines += int64(bytes.Count(piece[:n], []byte("\n")))
		if _, failed := target.Write(piece[:n]); failed != nil {
			err = failed
		}
	}
	if failed := target.Close(); err == io.EOF {
		err = failed
	}
	return size, lines, err
}

func run() error {
	host := flag.String("host", "", "the server: a name, or a URL")
	id := flag.String("clientID", os.Getenv("CLIENT_ID"), "the client id, else $CLIENT_ID")
	secret := flag.String("clientSecret", "", "the secret, else $CLIENT_SECRET")
	endpoint := flag.String("endpoint", "Patient", "Patient or Group/all")
	types := flag.String("resourceType", "", "the types, joined by commas; all without it")
	since := flag.String("since", "", "the transactionTime of the export before")
	cacert := flag.String("cacert", "", "a file with a certificate to trust")
	out := flag.String("out", ".", "the folder")
	job := flag.String("job", "", "go on with this job instead of starting one")
	flag.Parse()
	if *secret == "" {
		*secret = os.Getenv("CLIENT_SECRET")
	}
	if *host == "" || *id == "" || *secret == "" {
		return errors.New("-host, -clientID and -clientSecret are needed")
	}
	c, err := newClient(*host, *id, *secret, *cacert)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(*out, 0o700); err != nil {
		return err
	}
	if *job == "" {
		if *job, err = c.kickOff(*endpoint, *types, *since); err != nil {
			return fmt.Errorf("the export was refused: %w", err)
		}
	}
	fmt.Println("job", *job)
	text, err := c.wait(*job)
	if err != nil {
		return fmt.Errorf("the job ended otherwise: %w", err)
	}
	if err := os.WriteFile(filepath.Join(*out, "manifest.json"), text, 0o600); err != nil {
		return err
	}
	var found manifest
	if err := json.Unmarshal(text, &found); err != nil {
		return err
	}
	for _, list := range []struct {
		prefix string
		files  []file
	}{{"", found.Output}, {"", found.Deleted}, {"errors-", found.Error}} {
		for _, item := range list.files {
			name := filepath.Join(*out, list.prefix+item.Type+"-"+path.Base(item.URL))
			if err := c.download(item, name); err != nil {
				return fmt.Errorf("%s: %w", item.URL, err)
			}
		}
	}
	if len(found.Error) > 0 {
		fmt.Fprintf(os.Stderr, "some of it could not be exported: see %s/errors-*\n", *out)
	}
	return nil
}

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal("export: ", err)
	}
}
