package config

import (
	"testing"

	"github.com/hookline/hookline/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
