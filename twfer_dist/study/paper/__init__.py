"""The page "The paper's tables": the paper, table by table, beside our figures."""
