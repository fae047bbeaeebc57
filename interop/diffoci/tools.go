//go:build tools

// Package diffoci pins diffoci, a client of the tests: its own module, because its requirements
// would change those of the tests.
package diffoci

import _ "github.com/reproducible-containers/diffoci/cmd/diffoci"
