package awssm_test

import (
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

// A batch answers each secret once. A contradiction is malformed, and a denial wins.
func TestContradictionsInABatch(t *testing.T) {
	const (
		arn    = "arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/key-0-AbCdEf"
		first  = `{"ARN":"` + arn + `","Name":"prod/key-0","SecretString":"` + canary + `","VersionId":"v1","VersionStages":["AWSCURRENT"]}`
		second = `{"ARN":"` + arn + `","Name":"prod/key-0","SecretString":"` + canary + `2","VersionId":"v2"}`
		denied = `{"SecretId":"prod/key-0","ErrorCode":"AccessDeniedException","Message":"x"}`
		absent = `{"SecretId":"prod/key-0","ErrorCode":"ResourceNotFoundException","Message":"x"}`
	)
	for name, c := range map[string]struct {
		id, values, errors string
		class              error
		single             int // single reads of the first secret
	}{
		"one value":              {values: first},
		"the same value twice":   {values: first + "," + first},
		"two values":             {values: first + "," + second, class: secrets.ErrMalformed},
		"a value and a denial":   {values: first, errors: denied, class: secrets.ErrPermissionDenied},
		"two values, a denial":   {values: first + "," + second, errors: denied, class: secrets.ErrPermissionDenied},
		"a value and an absence": {values: first, errors: absent, class: secrets.ErrMalformed},
		"an absence, a denial":   {errors: absent + "," + denied, class: secrets.ErrPermissionDenied},
		"a denial of the ARN": {values: first, errors: strings.Replace(denied, "prod/key-0", arn, 1),
			class: secrets.ErrPermissionDenied},
		"by ARN": {id: arn, values: first},
		"by ARN, a denial of it": {id: arn, values: first, errors: strings.Replace(denied, "prod/key-0", arn, 1),
			class: secrets.ErrPermissionDenied},
		"another ARN with the name": {values: strings.Replace(first, "key-0-AbCdEf", "key-9-AbCdEf", 1), single: 1},
		"an old version":            {values: strings.Replace(first, "AWSCURRENT", "AWSPREVIOUS", 1), class: secrets.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			server, names, b := service(t, 3)
			server.Handle(func(r *awstest.Request) *awstest.Response {
				if r.Operation != getMany {
					return nil
				}
				return &awstest.Response{Body: `{"SecretValues":[` + c.values + `],"Errors":[` + c.errors + `]}`}
			})
			if c.id != "" {
				names[0] = c.id
			}
			results := b.Call(t.Context(), names...)
			is.Equal(secrets.Class(results[0].Err), c.class)
			secretstest.AssertNoLeak(t, canary, results[0].Err)
			is.Equal(server.Count(getOne), 2+c.single) // the batch does not answer the other two
			for _, r := range results[1:] {
				is.NoErr(r.Err)
			}
		})
	}
}
