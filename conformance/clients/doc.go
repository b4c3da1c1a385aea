// Package clients holds tests with the command lines that people use for S3,
// as Debian has them: awscli, s3cmd, curl. They run with a home directory and
// settings of their own.
package clients
