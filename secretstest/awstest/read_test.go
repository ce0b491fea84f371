package awstest_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

func TestErrorsOfReading(t *testing.T) {
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	first := s.Put("db", "one")
	s.Put("db", "two")
	s.Put("db-a1b2c3", "trap")
	s.Create("empty")
	s.Put("new", "only")
	s.Put("gone", "x")
	s.Delete("gone")
	other := s.In("eu-west-1")
	other.Put("db", "elsewhere")
	absent := strings.Repeat("0", 36)

	for _, tc := range []struct {
		name               string
		id, version, stage string
		code, message      string
		as                 any
	}{
		{"no such secret", "absent", "", "", "ResourceNotFoundException", notFound, new(*types.ResourceNotFoundException)},
		{"no value", "empty", "", "", "ResourceNotFoundException", noValue, new(*types.ResourceNotFoundException)},
		{"no such stage", "new", "", "AWSPREVIOUS", "ResourceNotFoundException", strings.Replace(noValue, "AWSCURRENT", "AWSPREVIOUS", 1),
			new(*types.ResourceNotFoundException)},
		{"no such version", "db", absent, "", "ResourceNotFoundException",
			"Secrets Manager can't find the specified secret value for VersionId: " + absent, new(*types.ResourceNotFoundException)},
		{"marked for deletion", "gone", "", "", "InvalidRequestException", deleted, new(*types.InvalidRequestException)},
		{"stage of another version", "db", first, "AWSCURRENT", "InvalidRequestException",
			"You provided a VersionStage that is not associated to the provided VersionId.", new(*types.InvalidRequestException)},
		{"a field", "db#user", "", "", "ValidationException", badName, nil},
		{"not an ARN", "arn:db", "", "", "ValidationException", badName, nil},
		{"a hostile ARN", "arn:aws:secretsmanager:evil.com/#:123456789012:secret:db", "", "", "ResourceNotFoundException", notFound, nil},
		{"an ARN of another region", other.ARN("db"), "", "", "ResourceNotFoundException", notFound, nil},
		{"an ARN of another account", strings.Replace(s.ARN("db"), "123456789012", "210987654321", 1), "", "", "AccessDeniedException",
			"User: arn:aws:iam::123456789012:user/app is not authorized to perform: secretsmanager:GetSecretValue on resource: " +
				strings.Replace(s.ARN("db"), "123456789012", "210987654321", 1) +
				" because no resource-based policy allows the secretsmanager:GetSecretValue action", nil},
		{"a part of a name", strings.TrimSuffix(partial(s.ARN("db")), "b"), "", "", "ResourceNotFoundException", notFound, nil},
		{"a partial ARN that looks complete", partial(s.ARN("db-a1b2c3")), "", "", "ResourceNotFoundException", notFound, nil},
		{"the end of an ARN as a name", "db" + s.ARN("db")[len(s.ARN("db"))-7:], "", "", "ResourceNotFoundException", notFound, nil},
		{"an id that is too long", strings.Repeat("x", 2049), "", "", "ValidationException",
			"1 validation error detected: Value '" + strings.Repeat("x", 2049) +
				"' at 'secretId' failed to satisfy constraint: Member must have length less than or equal to 2048", nil},
		{"an invalid version id", "db", "1", "", "ValidationException",
			"1 validation error detected: Value '1' at 'versionId' failed to satisfy constraint: Member must have length greater than or " +
				"equal to 32", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := is.New(t)
			in := &secretsmanager.GetSecretValueInput{SecretId: &tc.id}
			if tc.version != "" {
				in.VersionId = &tc.version
			}
			if tc.stage != "" {
				in.VersionStage = &tc.stage
			}
			_, err := c.GetSecretValue(t.Context(), in)
			code, message, status := apiError(t, err)
			is.Equal(code, tc.code)
			is.Equal(message, tc.message)
			is.Equal(status, http.StatusBadRequest) // never 404
			if tc.as != nil {
				is.True(errors.As(err, tc.as))
			}
		})
	}

	// Control: valid ids are found.
	for id, want := range map[string]string{
		"db": "two", s.ARN("db"): "two", partial(s.ARN("db")): "two", "db-a1b2c3": "trap", s.ARN("db-a1b2c3"): "trap", "new": "only",
	} {
		t.Run("found by "+id, func(t *testing.T) {
			value, code, message := get(t, c, id)
			is.New(t).Equal([]string{value, code, message}, []string{want, "", ""})
		})
	}
}

func TestASecretWithoutAValue(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	c, w := newClient(t, s)
	_, err := c.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("empty")})
	is.NoErr(err)
	is.True(!strings.Contains(w.last(), "VersionId"))
	_, err = c.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String("empty")})
	is.NoErr(err)
	is.True(!strings.Contains(w.last(), "VersionIdsToStages"))

	// The first version is always AWSCURRENT, whatever its labels.
	out, err := c.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: aws.String("empty"), SecretString: aws.String("x"), VersionStages: []string{"AWSPENDING"},
	})
	is.NoErr(err)
	is.Equal(out.VersionStages, []string{"AWSCURRENT", "AWSPENDING"})
}

// batch requests ids. It returns values by name and error codes by id.
func batch(t *testing.T, c *secretsmanager.Client, ids ...string) (names []string, values, codes map[string]string) {
	t.Helper()
	is := is.New(t)
	out, err := c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids})
	is.NoErr(err)
	values, codes = map[string]string{}, map[string]string{}
	for _, v := range out.SecretValues {
		names = append(names, *v.Name)
		values[*v.Name] = aws.ToString(v.SecretString) + string(v.SecretBinary)
	}
	for _, e := range out.Errors {
		_, twice := codes[*e.SecretId]
		is.True(!twice)
		codes[*e.SecretId] = *e.ErrorCode + ": " + *e.Message
	}
	return names, values, codes
}

func TestBatch(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	s.Put("b", "B")
	s.Put("a", "A")
	s.PutBinary("c", []byte("C"))
	s.Create("empty")
	s.Put("gone", "x")
	s.Delete("gone")

	names, values, codes := batch(t, c, "c", "b", "absent", "a", s.ARN("b"), partial(s.ARN("b")), "b", "empty", "gone", "absent", "x#y")
	is.Equal(names, []string{"a", "b", "c"}) // once each, and not in the order of the request
	is.Equal(values, map[string]string{"a": "A", "b": "B", "c": "C"})
	is.Equal(codes, map[string]string{
		"absent": "ResourceNotFoundException: " + notFound,
		"empty":  "ResourceNotFoundException: " + noValue,
		"gone":   "InvalidRequestException: " + deleted,
		"x#y":    "InvalidParameterException: " + badName,
	})

	for _, in := range []*secretsmanager.BatchGetSecretValueInput{
		{},
		{SecretIdList: strings.Split(strings.Repeat("a ", 20)+"b", " ")},
	} {
		_, err := c.BatchGetSecretValue(t.Context(), in)
		is.True(errors.As(err, new(*types.InvalidParameterException)))
	}
	batch(t, c, strings.Split(strings.Repeat("a ", 19)+"b", " ")...) // 20 are allowed
}
