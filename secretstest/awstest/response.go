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

// Response is an answer to a request. The zero value is the status 200 with an empty body.
type Response struct {
	Status int         // by default, 200
	Header http.Header // in addition to Content-Type, which it may replace, Date and X-Amzn-Requestid
	Body   string

	Delay time.Duration // how long the answer takes to begin
	Stall bool          // at the end of Body, or before the headers if it is empty, nothing comes until the client leaves
	Reset bool          // nothing is answered, and the connection is reset

	code, message string // of an error of AWS
	missing       int    // how many bytes the header Content-Length promises beyond Body: the client sees it truncated
}

// usual has what AWS mostly says with a code.
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

// Fault returns an error as the service answers it: the code, such as "ThrottlingException", as the body's "__type", the
// message, and the status 500 for InternalServiceError and InternalFailure, 503 for ServiceUnavailable, and 400 for all
// others. If the message is empty, it is what AWS mostly says with that code.
//
// Its Status and the other fields may be changed.
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

// HTML returns the page of a proxy or load balancer that stands before the service.
func HTML(status int) *Response {
	text := strconv.Itoa(status) + " " + http.StatusText(status)
	return &Response{
		Status: status,
		Header: http.Header{"Content-Type": {"text/html"}},
		Body: "<html>\r\n<head><title>" + text + "</title></head>\r\n" +
			"<body>\r\n<center><h1>" + text + "</h1></center>\r\n</body>\r\n</html>\r\n",
	}
}

// Truncated returns the same answer with the second half of its body missing: the connection ends before it.
func (r *Response) Truncated() *Response {
	changed := r.clone()
	half := len(r.Body) / 2
	changed.Body, changed.missing = r.Body[:half], max(len(r.Body)-half, 1)
	return changed
}

// silent reports whether the client sees no status.
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

// clone returns a copy that has a Header.
func (r *Response) clone() *Response {
	c := *r
	if c.Header = maps.Clone(r.Header); c.Header == nil {
		c.Header = make(http.Header)
	}
	return &c
}

// write sends the answer, for as long as the client listens.
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
		panic(http.ErrAbortHandler) // No answer, instead of an empty one. The server logs nothing of it.
	}
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("X-Amzn-Requestid", uuid())
	maps.Copy(header, r.Header)
	length := len(r.Body) + r.missing
	if r.Stall {
		length = max(length, len(r.Body)+1) // Else the client would know that it has all.
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
	_ = http.NewResponseController(w).Flush() // A client that has left is no fault.
}

// reset ends a connection so that the client sees an RST, not an end of it.
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

// wait waits for d, and reports whether ctx is still there then.
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

// object is a JSON object of the wire.
type object map[string]any

// encode returns o as the service would: without the escapes that encoding/json makes for HTML.
func (o object) encode() string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(o); err != nil {
		panic("awstest: " + err.Error()) // It holds texts, numbers and lists.
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// epoch is a time on the wire: seconds since 1970, with milliseconds as a fraction.
func epoch(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // It never fails.
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
