package awstest

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm   = "AWS4-HMAC-SHA256"
	dateLayout  = "20060102T150405Z"
	clockSkew   = 5 * time.Minute
	serviceName = "secretsmanager"
)

var authorizationPattern = regexp.MustCompile(
	`^AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([^/,\s]*)/([^/,\s]*)/aws4_request, ?` +
		`SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$`)

// authorization is the parsed Authorization header.
type authorization struct {
	keyID, date, region, service string
	signed                       []string
	signature                    string
	time                         string // X-Amz-Date in dateLayout
}

func parseAuthorization(r *http.Request) (authorization, *Response) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return authorization{}, Fault("MissingAuthenticationTokenException", "")
	}
	m := authorizationPattern.FindStringSubmatch(header)
	if m == nil {
		return authorization{}, Fault("IncompleteSignatureException",
			"Authorization header requires existence of 'Credential', 'SignedHeaders' and 'Signature' parameters, of "+algorithm+".")
	}
	a := authorization{
		keyID: m[1], date: m[2], region: m[3], service: m[4],
		signed: strings.Split(m[5], ";"), signature: m[6], time: r.Header.Get("X-Amz-Date"),
	}
	if a.time == "" {
		return a, Fault("IncompleteSignatureException", "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	return a, nil
}

// authenticate verifies the signature of a request. It returns the answer to an invalid one, or nil.
func (c *shared) authenticate(r *http.Request, body []byte, now time.Time) *Response {
	a, fault := parseAuthorization(r)
	if fault != nil {
		return fault
	}
	c.mu.Lock()
	known, expired, region := c.credentials, c.expired, c.regions[a.region] != nil
	c.mu.Unlock()

	signedAt, err := time.Parse(dateLayout, a.time)
	switch {
	case err != nil:
		return Fault("IncompleteSignatureException", "Date must be in ISO-8601 'basic format'. Got '"+a.time+"'.")
	case !strings.HasPrefix(a.time, a.date):
		return invalid("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.")
	case now.Sub(signedAt) > clockSkew:
		return invalid("Signature expired: " + a.time + " is now earlier than " + now.Add(-clockSkew).UTC().Format(dateLayout) +
			" (" + now.UTC().Format(dateLayout) + " - 5 min.)")
	case signedAt.Sub(now) > clockSkew:
		return invalid("Signature not yet current: " + a.time + " is still later than " + now.Add(clockSkew).UTC().Format(dateLayout) +
			" (" + now.UTC().Format(dateLayout) + " + 5 min.)")
	case a.service != serviceName:
		return invalid("Credential should be scoped to correct service: 'secretsmanager'.")
	case !region:
		return invalid("Credential should be scoped to a valid region.")
	case a.keyID != known.AccessKeyID:
		return Fault("UnrecognizedClientException", "")
	case !a.covers(r):
		return invalid("'Host' or 'X-Amz-Target' or 'X-Amz-Date' must be a 'SignedHeader' in the AWS Authorization.")
	case subtle.ConstantTimeCompare([]byte(a.signature), []byte(a.sign(r, body, known.SecretAccessKey))) != 1:
		return Fault("InvalidSignatureException", "")
	case expired:
		return Fault("ExpiredTokenException", "")
	case r.Header.Get("X-Amz-Security-Token") != known.SessionToken:
		return Fault("UnrecognizedClientException", "")
	}
	return nil
}

func invalid(message string) *Response { return Fault("InvalidSignatureException", message) }

// covers reports whether all required headers are signed: the host and everything that begins with X-Amz-.
func (a authorization) covers(r *http.Request) bool {
	for name := range r.Header {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "x-amz-") && !slices.Contains(a.signed, name) {
			return false
		}
	}
	return slices.Contains(a.signed, "host")
}

// sign returns the signature of the request under key. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.
func (a authorization) sign(r *http.Request, body []byte, key string) string {
	var headers strings.Builder
	for _, name := range a.signed {
		headers.WriteString(name + ":" + canonical(r, name) + "\n")
	}
	request := strings.Join([]string{
		r.Method, r.URL.EscapedPath(), r.URL.RawQuery, headers.String(), strings.Join(a.signed, ";"), hash(body),
	}, "\n")
	scope := a.date + "/" + a.region + "/" + a.service + "/aws4_request"
	text := algorithm + "\n" + a.time + "\n" + scope + "\n" + hash([]byte(request))
	mac := []byte("AWS4" + key)
	for _, part := range []string{a.date, a.region, a.service, "aws4_request", text} {
		h := hmac.New(sha256.New, mac)
		h.Write([]byte(part))
		mac = h.Sum(nil)
	}
	return hex.EncodeToString(mac)
}

// canonical returns the value of a header as signed. net/http stores two headers outside r.Header.
func canonical(r *http.Request, name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length":
		return strconv.FormatInt(r.ContentLength, 10)
	}
	values := slices.Clone(r.Header.Values(name))
	for i, v := range values {
		values[i] = strings.Join(strings.Fields(v), " ")
	}
	return strings.Join(values, ",")
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
