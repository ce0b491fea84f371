package awstest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

func TestPages(t *testing.T) {
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	ids := []string{"absent"}
	for i := range 7 {
		ids = append(ids, fmt.Sprintf("s%d", i))
		s.Put(fmt.Sprintf("s%d", i), "x")
	}
	for _, tc := range []struct {
		sizes []int
		want  []int
	}{
		{nil, []int{8}},
		{[]int{3}, []int{3, 3, 2}},
		{[]int{0, 5}, []int{0, 5, 3}},
		{[]int{8, 0, 0}, []int{8, 0, 0}},
		{[]int{1, 0, 20}, []int{1, 0, 7}},
	} {
		t.Run(fmt.Sprint(tc.sizes), func(t *testing.T) {
			is := is.New(t)
			s.SetPages(tc.sizes...)
			var sizes []int
			seen := map[string]bool{}
			pages := secretsmanager.NewBatchGetSecretValuePaginator(c, &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids})
			for pages.HasMorePages() {
				page, err := pages.NextPage(t.Context())
				is.NoErr(err)
				sizes = append(sizes, len(page.SecretValues)+len(page.Errors))
				for _, v := range page.SecretValues {
					seen[*v.Name] = true
				}
			}
			is.Equal(sizes, tc.want)
			is.Equal(len(seen), 7)
		})
	}
	t.Run("without end", func(t *testing.T) {
		is := is.New(t)
		in := &secretsmanager.ListSecretsInput{}
		s.SetPages(0)
		tokens := map[string]bool{}
		for range 50 {
			out, err := c.ListSecrets(t.Context(), in)
			is.NoErr(err)
			is.Equal(len(out.SecretList), 0)
			tokens[*out.NextToken] = true
			in.NextToken = out.NextToken
		}
		is.Equal(len(tokens), 50)
	})
	t.Run("a repeated token", func(t *testing.T) {
		is := is.New(t)
		s.SetPages(3)
		s.RepeatToken(true)
		defer s.Recover()
		in := &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids}
		first, err := c.BatchGetSecretValue(t.Context(), in)
		is.NoErr(err)
		in.NextToken = first.NextToken
		second, err := c.BatchGetSecretValue(t.Context(), in)
		is.NoErr(err)
		is.Equal(*second.NextToken, *first.NextToken)
		is.Equal(len(second.SecretValues), len(first.SecretValues))
	})
	t.Run("a token of something else", func(t *testing.T) {
		is := is.New(t)
		s.SetPages(3)
		defer s.Recover()
		first, err := c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids})
		is.NoErr(err)
		_, err = c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids[1:], NextToken: first.NextToken})
		is.True(errors.As(err, new(*types.InvalidNextTokenException)))
		_, err = c.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{NextToken: first.NextToken})
		is.True(errors.As(err, new(*types.InvalidNextTokenException)))
		_, err = c.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{NextToken: aws.String("junk")})
		is.True(errors.As(err, new(*types.InvalidNextTokenException)))
	})
}

func TestListSecretsFiltersAndSorts(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	for _, in := range []secretsmanager.CreateSecretInput{
		{Name: aws.String("prod/b"), Description: aws.String("Database"),
			Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("core")}}},
		{Name: aws.String("prod/a"), Description: aws.String("Queue")},
		{Name: aws.String("dev/a"), Description: aws.String("database")},
	} {
		_, err := c.CreateSecret(t.Context(), &in)
		is.NoErr(err)
	}
	list := func(in secretsmanager.ListSecretsInput) (names []string) {
		for pages := secretsmanager.NewListSecretsPaginator(c, &in); pages.HasMorePages(); {
			out, err := pages.NextPage(t.Context())
			is.NoErr(err)
			for _, s := range out.SecretList {
				names = append(names, *s.Name)
			}
		}
		return names
	}
	filter := func(key types.FilterNameStringType, values ...string) types.Filter {
		return types.Filter{Key: key, Values: values}
	}
	for _, tc := range []struct {
		in   secretsmanager.ListSecretsInput
		want string
	}{
		{secretsmanager.ListSecretsInput{}, "prod/b prod/a dev/a"},
		{secretsmanager.ListSecretsInput{MaxResults: aws.Int32(1)}, "prod/b prod/a dev/a"},
		{secretsmanager.ListSecretsInput{SortBy: types.SortByTypeName}, "dev/a prod/a prod/b"},
		{secretsmanager.ListSecretsInput{SortBy: types.SortByTypeName, SortOrder: types.SortOrderTypeDesc}, "prod/b prod/a dev/a"},
		{secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("name", "prod")}}, "prod/b prod/a"},
		{secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("name", "!prod")}}, "dev/a"},
		{secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("name", "PROD")}}, ""},
		{secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("description", "DATA")}}, "prod/b dev/a"},
		{secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("description", "DATA"), filter("name", "prod")}}, "prod/b"},
		{secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("tag-key", "te"), filter("tag-value", "core")}}, "prod/b"},
	} {
		is.Equal(strings.Join(list(tc.in), " "), tc.want)
	}
	_, err := c.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("all", "x")}})
	is.True(errors.As(err, new(*types.InvalidParameterException)))
	_, err = c.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{MaxResults: aws.Int32(101)})
	is.True(err != nil)
}
