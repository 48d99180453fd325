-- SQLite counts since 0002_job_counts.sql. This step changes nothing.
SELECT 1;
