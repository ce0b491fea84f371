package awstest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Response is an answer to a request. The zero value has status 200 and an empty body.
type Response struct {
	Status int         // Default: 200
	Header http.Header // added to Content-Type, Date and X-Amzn-Requestid; may replace Content-Type
	Body   string

	Delay time.Duration // wait before the answer
	Stall bool          // stall after Body, or before the headers if Body is empty, until the client leaves
	Reset bool          // reset the connection without an answer

	code, message string // of an AWS error
	missing       int    // bytes that Content-Length counts beyond Body: the client sees a truncated body
}

// usual has the message that AWS usually sends with a code.
var usual = map[string]string{ //nolint:gochecknoglobals // a table
	"DecryptionFailure":         "Secrets Manager can't decrypt the protected secret text using the provided KMS key.",
	"EncryptionFailure":         "Secrets Manager can't encrypt the protected secret text using the provided KMS key.",
	"ExpiredTokenException":     "The security token included in the request is expired",
	"InternalFailure":           "The request processing has failed because of an unknown error, exception or failure.",
	"InternalServiceError":      "An error occurred on the server side.",
	"InvalidNextTokenException": "The NextToken value is invalid.",
	"InvalidParameterException": "The parameter name or value is invalid.",
	"InvalidRequestException":   deletedText,
	"InvalidSignatureException": "The request signature we calculated does not match the signature you provided. " +
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
	"LimitExceededException":              "The request failed because it would exceed one of the Secrets Manager quotas.",
	"MissingAuthenticationTokenException": "Missing Authentication Token",
	"RequestLimitExceeded":                "Request limit exceeded.",
	"ResourceNotFoundException":           notFoundText,
	"ServiceUnavailable":                  "The request has failed due to a temporary failure of the server.",
	"ThrottlingException":                 "Rate exceeded",
	"UnrecognizedClientException":         "The security token included in the request is invalid.",
}

const (
	deletedText  = "You can't perform this operation on the secret because it was marked for deletion."
	notFoundText = "Secrets Manager can't find the specified secret."
)

// Fault returns a service error. code, such as "ThrottlingException", is the body's "__type". An empty message means the one that AWS
// usually sends with code. The status is 500 for InternalServiceError and InternalFailure, 503 for ServiceUnavailable, and 400 otherwise.
//
// The caller may change its Status and other fields.
func Fault(code, message string) *Response {
	if message == "" {
		message = usual[code]
	}
	r := &Response{Status: http.StatusBadRequest, code: code, message: message}
	switch code {
	case "InternalServiceError", "InternalFailure":
		r.Status = http.StatusInternalServerError
	case "ServiceUnavailable":
		r.Status = http.StatusServiceUnavailable
	}
	body := object{"__type": code}
	if message != "" {
		body["Message"] = message
	}
	r.Body = body.encode()
	return r
}

// HTML returns the HTML page of a proxy or load balancer in front of the service.
func HTML(status int) *Response {
	text := strconv.Itoa(status) + " " + http.StatusText(status)
	return &Response{
		Status: status,
		Header: http.Header{"Content-Type": {"text/html"}},
		Body: "<html>\r\n<head><title>" + text + "</title></head>\r\n" +
			"<body>\r\n<center><h1>" + text + "</h1></center>\r\n</body>\r\n</html>\r\n",
	}
}

// Truncated returns a copy of r whose connection ends in the middle of the body.
func (r *Response) Truncated() *Response {
	changed := r.clone()
	half := len(r.Body) / 2
	changed.Body, changed.missing = r.Body[:half], max(len(r.Body)-half, 1)
	return changed
}

// silent reports whether the client gets no status.
func (r *Response) silent() bool { return r.Reset || r.Stall && r.Body == "" }

func (r *Response) withStatus(status int) *Response {
	changed := r.clone()
	changed.Status = status
	return changed
}

func (r *Response) status() int {
	if r.Status == 0 {
		return http.StatusOK
	}
	return r.Status
}

// clone returns a copy with a non-nil Header.
func (r *Response) clone() *Response {
	c := *r
	if c.Header = maps.Clone(r.Header); c.Header == nil {
		c.Header = make(http.Header)
	}
	return &c
}

// write sends the answer until it is complete or the client leaves.
func (r *Response) write(ctx context.Context, w http.ResponseWriter) {
	if !wait(ctx, r.Delay) {
		return
	}
	if r.Reset {
		reset(w)
		return
	}
	if r.silent() {
		<-ctx.Done()
		panic(http.ErrAbortHandler) // ends the connection without an answer or a log line
	}
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("X-Amzn-Requestid", uuid())
	maps.Copy(header, r.Header)
	length := len(r.Body) + r.missing
	if r.Stall {
		length = max(length, len(r.Body)+1) // otherwise the client would see a complete body
	}
	header.Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(r.status())
	_, _ = w.Write([]byte(r.Body)) //nolint:gosec // no browser reads it
	if r.Stall {
		flush(w)
		<-ctx.Done()
	}
}

func flush(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush() // the client may have left
}

// reset closes a connection with an RST.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// wait waits for d. It returns false if ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// object is a JSON object on the wire.
type object map[string]any

// encode returns o as JSON without HTML escapes, like the service.
func (o object) encode() string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(o); err != nil {
		panic("awstest: " + err.Error()) // it holds only strings, numbers and lists
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// epoch returns t as on the wire: Unix seconds, with milliseconds as a fraction.
func epoch(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
