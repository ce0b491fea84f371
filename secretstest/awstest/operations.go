package awstest

import (
	"encoding/json"
	"time"
)

const (
	getOperation   = "GetSecretValue"
	batchOperation = "BatchGetSecretValue"
)

const batchLimit = 20 // ids per request, and values per page

const day = 24 * time.Hour

// query is one request of an operation. c.mu is held while it is answered.
type query struct {
	*shared
	input

	region string
}

// serve answers a request with a valid signature. c.mu must be held.
func (c *shared) serve(call Call, body []byte) *Response {
	operations := map[string]func(*query) (object, *Response){
		getOperation:               (*query).getSecretValue,
		batchOperation:             (*query).batchGetSecretValue,
		"CreateSecret":             (*query).createSecret,
		"DescribeSecret":           (*query).describeSecret,
		"PutSecretValue":           (*query).putSecretValue,
		"UpdateSecretVersionStage": (*query).updateSecretVersionStage,
	}
	run := operations[call.Operation]
	if run == nil {
		return Fault("UnknownOperationException", "")
	}
	q := &query{shared: c, region: call.Region}
	if err := json.Unmarshal(body, &q.input); err != nil {
		return Fault("SerializationException", "")
	}
	if fault := q.check(call.Operation); fault != nil {
		return fault
	}
	id := value(q.SecretID)
	if call.Operation == "CreateSecret" {
		id = *q.Name
	}
	if fault := c.denied(call.Operation, q.region, id); fault != nil {
		return fault
	}
	answer, fault := run(q)
	if fault != nil {
		return fault
	}
	return &Response{Body: answer.encode()}
}

// live returns the requested secret unless it is marked for deletion.
func (q *query) live() (*secret, *Response) {
	s, fault := q.find(q.region, *q.SecretID)
	if fault == nil && !s.deleted.IsZero() {
		fault = Fault("InvalidRequestException", deletedText)
	}
	return s, fault
}
