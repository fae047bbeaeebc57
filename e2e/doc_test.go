// Package e2e_test has the tests of the front that run processes, kill them, fill disks, and
// hold the laws: what an archive's bytes depend on, and what a failure leaves behind.
package e2e_test
