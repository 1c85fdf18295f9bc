package testdb

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestWithDatabase(t *testing.T) {
	t.Parallel()

	for _, connString := range []string{
		"postgres://someone:secret@db.example:5433/theirs?sslmode=disable",
		"postgresql://someone:secret@db.example:5433?sslmode=disable",
		"host=db.example port=5433 user=someone password=secret sslmode=disable",
		"host=db.example port=5433 user=someone password=secret dbname=theirs sslmode=disable",
	} {
		config, err := pgx.ParseConfig(withDatabase(connString, "ours"))
		require.NoError(t, err)
		require.Equal(t, "ours", config.Database, connString)
		require.Equal(t, "db.example", config.Host)
		require.EqualValues(t, 5433, config.Port)
		require.Equal(t, "someone", config.User)
		require.Equal(t, "secret", config.Password)
	}
}
