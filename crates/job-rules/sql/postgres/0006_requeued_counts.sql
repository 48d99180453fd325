-- PostgreSQL counts the rows of the jobs: see sql/sqlite/0002_job_counts.sql. This step changes nothing.
SELECT 1;
