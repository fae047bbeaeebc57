module github.com/dockerarchive/dockerarchive/interop/diffoci
go 1.25
require github.com/reproducible-containers/diffoci v0.1.7
